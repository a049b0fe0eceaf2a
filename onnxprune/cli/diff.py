"""`onnxprune diff`: what distinguishes two models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, declared, model_argument
from onnxprune.cli.run import Run
from onnxprune.options.others import DiffOptions


@click.command("diff", cls=Command, short_help="Show how two models differ.")
@model_argument("a")
@model_argument("b")
@declared(DiffOptions)
@click.pass_context
def command(ctx: click.Context, /, a: Path, b: Path, **given: Any) -> None:
    """Show how two models differ: signature, metadata, nodes, initializers."""
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report.others import diff_report

    run = ctx.ensure_object(Run)
    with progress(run):
        result = onnxprune.diff(a, b)
    run.show(lambda: diff_report(result), lambda: documents.diff(result))
