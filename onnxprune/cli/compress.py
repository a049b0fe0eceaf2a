"""`onnxprune compress`: all levers under one budget."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.failure import leave
from onnxprune.cli.options import Command, arguments, check_limit, declared, model_argument, wants_timing
from onnxprune.cli.run import Run
from onnxprune.options.compressing import CompressOptions

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report


@click.command("compress", cls=Command, short_help="Down to a latency or a size, by the levers that lose least.")
@model_argument("model")
@declared(CompressOptions)
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, dry_run: bool, **given: Any) -> None:
    """Make MODEL cost what --target says: by integers, narrower layers, fewer blocks or (--sparse) zeros,
    whichever loses least.
    """
    import onnxprune
    from onnxprune.cli.progress import watched
    from onnxprune.report import compress as text
    from onnxprune.report import compress_document

    run = ctx.ensure_object(Run)
    options = arguments(CompressOptions, ctx.params) | {"bench": wants_timing(ctx, dry_run)}
    check_limit(ctx, options["data"])
    with watched(run, ctx.params) as callback:
        target = onnxprune.BESIDE if output is None else output
        result = onnxprune.compress(model, target, progress=callback, **options)

    def report() -> Report:
        if run.quiet:
            return text.outcome(result, dry_run=dry_run)
        return text.report(result, dry_run=dry_run, layers=run.verbosity > 0)

    run.show(report, lambda: compress_document.compress(result))
    failure = result.failure()
    if failure is not None:
        raise failure
    leave(result)
