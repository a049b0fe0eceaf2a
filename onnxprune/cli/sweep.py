"""`onnxprune sweep`: a model shrunk in many ways, and which of the results are worth having."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import Command, arguments, check_limit, declared, model_argument
from onnxprune.cli.run import Run
from onnxprune.options.shrinking import SweepOptions


@click.command("sweep", cls=Command, short_help="Shrink in many ways; show which results are worth having.")
@model_argument("model")
@declared(SweepOptions)
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, **given: Any) -> None:
    """Shrink MODEL by every ratio and target with every criterion: what is gained, and what is lost?

    Each point is one shrink, proven as such; the frontier of accuracy against latency, size and MACs is marked. What is
    finished stays in FOLDER: started again, only what is missing is computed. Exit code 1 if no point gave a model.
    """
    import onnxprune
    from onnxprune.cli.progress import watched
    from onnxprune.report import sweep as text
    from onnxprune.report.sweep_document import sweep as document

    run = ctx.ensure_object(Run)
    options = arguments(SweepOptions, ctx.params)
    check_limit(ctx, options["data"], "provider")
    with watched(run, ctx.params) as callback:
        result = onnxprune.sweep(model, output, progress=callback, **options)
    run.show(lambda: text.verdicts(result) if run.quiet else text.sweep_report(result), lambda: document(result))
    failure = result.failure()
    if failure is not None:
        raise failure
