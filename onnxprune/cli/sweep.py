"""`onnxprune sweep`: a model shrunk in many ways, and which of the results are worth having."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxprune.cli.options import (
    Command,
    FilePath,
    allow_unproven_option,
    combined,
    model_argument,
    output_format,
    output_option,
)
from onnxprune.cli.run import Run
from onnxprune.cli.shrink import manner, samples_and_repair, which
from onnxprune.cli.sparse_options import sparse_options


class SweepCommand(Command):
    """Whom points are sent to is for the command line to say, not for a file."""

    line_only = frozenset({"scheduler"})


points = combined(
    (
        click.option(
            "--ratios", metavar="SHARE,..", default="", help="Shares of the channels that leave: 0.2,0.4,0.6."
        ),
        click.option(
            "--targets",
            metavar="COST,..",
            default="",
            show_default="macs=75%,macs=50%,macs=25%, without --ratios",
            help="What may be left: macs=75%,params=1M,size=2MB,latency=50%.",
        ),
        click.option(
            "--criteria",
            metavar="NAME,..",
            default="",
            show_default="obs with --data, otherwise l1",
            help="How channels are ranked: obs,l1. onnxprune shrink --help lists them.",
        ),
    )
)
computing = combined(
    (
        click.option(
            "--jobs",
            metavar="N",
            type=click.IntRange(min=0),
            default=0,
            show_default="as cores and memory allow",
            help="Points at a time, each in a process of its own; the cores are shared out among them.",
        ),
        click.option(
            "--scheduler",
            metavar="ADDRESS",
            help="Compute on the Dask cluster whose scheduler is there (tcp://host:8786), with the same results.",
        ),
        click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of everything random."),
        click.option(
            "--external-data",
            type=click.Choice(("auto", "always", "never")),
            default="auto",
            show_default=True,
            help="Weights in a file of their own (auto: above 2 GB).",
        ),
    )
)
judging = combined(
    (
        click.option(
            "--metric",
            metavar="FILE.PY:FUNCTION",
            help="Your own score: a function from the path of a model to a number, higher is better. It runs here.",
        ),
        click.option("--bench/--no-bench", default=True, show_default=True, help="Measure latency, here, at the end."),
        click.option(
            "--threads", metavar="N", type=click.IntRange(min=1), show_default="all cores", help="Of measured runs."
        ),
        click.option("--batch", metavar="N", type=click.IntRange(min=1), help="Samples per inference, for latency."),
        click.option(
            "--seconds",
            metavar="S",
            type=float,
            show_default="2 for each model, 5 at least",
            help="How long to time all models, a dozen together.",
        ),
        click.option("--runs", metavar="N", type=click.IntRange(min=1), help="Time N rounds instead of --seconds."),
        click.option("--report", metavar="FILE", type=FilePath(), help="Write a page with plots (HTML)."),
        click.option("--force", is_flag=True, help="Replace the page if it exists."),
    )
)


@click.command("sweep", cls=SweepCommand, short_help="Shrink in many ways; show which results are worth having.")
@model_argument("model")
@output_option("Where the points are kept.  [default: MODEL's stem + .sweep, beside MODEL]", metavar="FOLDER")
@points
@manner
@which
@sparse_options
@samples_and_repair
@judging
@computing
@allow_unproven_option
@output_format
@click.pass_context
def command(ctx: click.Context, /, model: Path, output: Path | None, format_: str, **options: Any) -> None:
    """Shrink MODEL by every ratio and target with every criterion: what is gained, and what is lost?

    Each point is one shrink, proven as such; the frontier of accuracy against latency, size and MACs is marked. What is
    finished stays in FOLDER: started again, only what is missing is computed. Exit code 1 if no point gave a model.
    """
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import sweep as text
    from onnxprune.report.sweep_document import sweep as document

    run = ctx.ensure_object(Run)
    options["data"] = options["data"] or None
    with progress(run) as callback:
        result = onnxprune.sweep(model, output, progress=callback, **options)
    run.show(lambda: text.verdicts(result) if run.quiet else text.sweep_report(result), lambda: document(result))
    failure = result.failure()
    if failure is not None:
        raise failure
