"""`onnxprune env`: versions and hardware."""

from __future__ import annotations

from typing import Any

import click

from onnxprune.cli.options import Command, declared
from onnxprune.cli.run import Run
from onnxprune.options.others import EnvOptions


@click.command("env", cls=Command, short_help="Show versions and hardware.")
@declared(EnvOptions)
@click.pass_context
def command(ctx: click.Context, /, **given: Any) -> None:
    """Show versions and hardware, for bug reports."""
    from onnxprune.report import documents
    from onnxprune.report.others import env_report
    from onnxprune.results import system

    result = system.environment()
    ctx.ensure_object(Run).show(lambda: env_report(result), lambda: documents.env(result))
