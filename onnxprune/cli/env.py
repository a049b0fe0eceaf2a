"""`onnxprune env`: versions and hardware."""

from __future__ import annotations

import click

from onnxprune.cli.options import Command, output_format
from onnxprune.cli.run import Run


@click.command("env", cls=Command, short_help="Show versions and hardware.")
@output_format
@click.pass_context
def command(ctx: click.Context, /, format_: str) -> None:
    """Show versions and hardware, for bug reports."""
    from onnxprune.report import documents
    from onnxprune.report.others import env_report
    from onnxprune.results import system

    result = system.environment()
    ctx.ensure_object(Run).show(lambda: env_report(result), lambda: documents.env(result))
