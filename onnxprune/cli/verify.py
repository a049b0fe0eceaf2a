"""`onnxprune verify`: the proof again."""

from __future__ import annotations

from pathlib import Path

import click

from onnxprune.cli.options import Command, model_argument, output_format, run_options
from onnxprune.cli.run import Run


@click.command("verify", cls=Command, short_help="Repeat the proof of a pruned model.")
@model_argument("original")
@model_argument("pruned")
@run_options
@output_format
@click.pass_context
def command(ctx: click.Context, /, original: Path, pruned: Path, seed: int, jobs: int, format_: str) -> None:
    """Prove again that PRUNED is ORIGINAL minus what the plan stored in PRUNED removes, and with the zeros it names."""
    from onnxprune import api
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report.others import verify_report

    run = ctx.ensure_object(Run)
    with progress(run) as callback:
        result = api.verify(original, pruned, seed=seed, threads=jobs, progress=callback)
    run.show(lambda: verify_report(result), lambda: documents.verify(result))
