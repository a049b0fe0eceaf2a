"""`onnxprune quantize`: layers that compute with integers, or weights in fewer bits."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.failure import leave
from onnxprune.cli.options import Command, arguments, check_limit, declared, model_argument, wants_timing
from onnxprune.cli.run import Run
from onnxprune.options.quantizing import QuantizeOptions

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report


@click.command("quantize", cls=Command, short_help="Compute with 8-bit integers, or store weights in fewer bits.")
@model_argument("model")
@declared(QuantizeOptions)
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, dry_run: bool, **given: Any) -> None:
    """Let the layers of MODEL compute with 8-bit integers, and write the result, proven."""
    import onnxprune
    from onnxprune.cli.progress import watched
    from onnxprune.report import quantize as text
    from onnxprune.report import quantize_document

    run = ctx.ensure_object(Run)
    options = arguments(QuantizeOptions, ctx.params) | {"bench": wants_timing(ctx, dry_run)}
    check_limit(ctx, options["data"])
    with watched(run, ctx.params) as callback:
        target = onnxprune.BESIDE if output is None else output
        result = onnxprune.quantize(model, target, progress=callback, **options)

    def report() -> Report:
        if run.quiet:
            return text.outcome(result, dry_run=dry_run)
        return text.report(result, dry_run=dry_run, layers=run.verbosity > 0)

    run.show(report, lambda: quantize_document.quantize(result))
    failure = result.failure()
    if failure is not None:
        raise failure
    leave(result)
