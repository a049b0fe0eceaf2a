"""`onnxprune verify`: the proof again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, arguments, declared, model_argument
from onnxprune.cli.run import Run
from onnxprune.options.others import VerifyOptions


@click.command("verify", cls=Command, short_help="Repeat the proof of a pruned model.")
@model_argument("original")
@model_argument("pruned")
@declared(VerifyOptions)
@click.pass_context
def command(ctx: click.Context, /, original: Path, pruned: Path, **given: Any) -> None:
    """Prove again that PRUNED is ORIGINAL minus what the plan stored in PRUNED removes, and with the zeros it names."""
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report.others import verify_report

    run = ctx.ensure_object(Run)
    with progress(run) as callback:
        result = onnxprune.verify(original, pruned, progress=callback, **arguments(VerifyOptions, ctx.params))
    run.show(lambda: verify_report(result), lambda: documents.verify(result))
    failure = result.failure()
    if failure is not None:
        raise failure
