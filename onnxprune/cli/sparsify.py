"""`onnxprune sparsify`: weights with zeros, and operators that skip them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.failure import leave
from onnxprune.cli.options import Command, arguments, check_limit, declared, model_argument, wants_timing
from onnxprune.cli.run import Run
from onnxprune.options.lists import METHODS
from onnxprune.options.shrinking import SparsifyOptions

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report


class SparsifyCommand(Command):
    """Lists the methods below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Methods (which weights leave)"):
            formatter.write_dl(list(METHODS.items()))
        super().format_epilog(ctx, formatter)


@click.command("sparsify", cls=SparsifyCommand, short_help="Set weights to zero, and skip them.")
@model_argument("model")
@declared(SparsifyOptions)
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, dry_run: bool, **given: Any) -> None:
    """Set most weights of MODEL to zero, in blocks that operators can skip, and write the result, proven."""
    import onnxprune
    from onnxprune.cli.progress import watched
    from onnxprune.report import sparse_document
    from onnxprune.report import sparsify as text

    run = ctx.ensure_object(Run)
    options = arguments(SparsifyOptions, ctx.params) | {"bench": wants_timing(ctx, dry_run)}
    check_limit(ctx, options["data"])
    with watched(run, ctx.params) as callback:
        target = onnxprune.BESIDE if output is None else output
        result = onnxprune.sparsify(model, target, progress=callback, **options)

    def report() -> Report:
        if run.quiet:
            return text.outcome(result, dry_run=dry_run)
        return text.report(result, dry_run=dry_run, layers=run.verbosity > 0)

    run.show(report, lambda: sparse_document.sparsify(result))
    failure = result.failure()
    if failure is not None:
        raise failure
    leave(result)
