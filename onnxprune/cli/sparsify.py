"""`onnxprune sparsify`: weights with zeros, and operators that skip them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from onnxprune.cli.options import (
    Command,
    FilePath,
    allow_unproven_option,
    bench_option,
    check_limit,
    combined,
    data_options,
    model_argument,
    output_format,
    output_option,
    run_options,
    schedule_options,
    wants_timing,
    writing_options,
)
from onnxprune.cli.run import Run
from onnxprune.cli.sparse_options import METHODS, sparse_options

if TYPE_CHECKING:
    from onnxprune.report.blocks import Report


class SparsifyCommand(Command):
    """Lists the methods below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Methods (which weights leave)"):
            formatter.write_dl(list(METHODS.items()))


how = combined(
    (
        click.option(
            "--scope",
            type=click.Choice(("local", "global")),
            default="local",
            show_default=True,
            help="The same share of every layer, or more where it costs less.",
        ),
        schedule_options("weights"),
        click.option(
            "--include",
            metavar="PATTERN",
            multiple=True,
            help="Only these layers: a name, a glob, or type:Conv. Repeatable.",
        ),
        click.option(
            "--exclude",
            metavar="PATTERN",
            multiple=True,
            help="Leave these layers dense; wins over --include. Repeatable.",
        ),
    )
)
repair = click.option(
    "--repair",
    type=click.Choice(("auto", "none", "least-squares", "reconstruct")),
    default="auto",
    show_default="reconstruct with --data, otherwise none",
    help="Make up for what left, with --data: each layer's other weights are refitted (least-squares), and then all "
    "weights of the network together, by gradients (reconstruct).",
)


@click.command("sparsify", cls=SparsifyCommand, short_help="Set weights to zero, and skip them.")
@model_argument("model")
@output_option("The file to write.  [default: MODEL's stem + .sparse.onnx, beside MODEL]")
@sparse_options
@how
@data_options
@repair
@click.option("--dry-run", is_flag=True, help="Choose, refit and report; write no model.")
@click.option("--report", metavar="FILE", type=FilePath(), help="Write a page with plots (HTML).")
@bench_option
@allow_unproven_option
@writing_options
@run_options
@output_format
@click.pass_context
def command(
    ctx: click.Context, /, model: Path, output: Path | None, dry_run: bool, format_: str, **options: Any
) -> None:
    """Set most weights of MODEL to zero, in blocks that operators can skip, and write the result, proven."""
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import sparse_document
    from onnxprune.report import sparsify as text

    run = ctx.ensure_object(Run)
    options["data"] = options["data"] or None
    options["bench"] = wants_timing(ctx, dry_run)
    check_limit(ctx, options["data"])
    with progress(run) as callback:
        result = onnxprune.sparsify(model, output, dry_run=dry_run, progress=callback, **options)

    def report() -> Report:
        if run.quiet:
            return text.outcome(result, dry_run=dry_run)
        return text.report(result, dry_run=dry_run, layers=run.verbosity > 0)

    run.show(report, lambda: sparse_document.sparsify(result))
    failure = result.failure()
    if failure is not None:
        raise failure
