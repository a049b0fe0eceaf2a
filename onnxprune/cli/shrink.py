"""`onnxprune shrink`: a smaller model."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from onnxprune.cli.options import (
    Command,
    FilePath,
    allow_unproven_option,
    bench_option,
    check_limit,
    combined,
    data_options,
    metric_option,
    model_argument,
    multiple,
    output_format,
    output_option,
    ratio,
    run_options,
    schedule_options,
    units_option,
    wants_timing,
    writing_options,
)
from onnxprune.cli.run import Run
from onnxprune.cli.sparse_options import METHODS, sparse_options
from onnxprune.errors import OutputError, UsageError

if TYPE_CHECKING:
    from onnxprune.cut.plan import Plan
    from onnxprune.report.blocks import Report
    from onnxprune.results import ShrinkResult

CRITERIA = {
    "bn-scale": "Scale |gamma| of the batch normalisation that follows; norm of the filter where it is fused.",
    "filter-sketch": "Share of a filter in the directions that a Frequent-Directions sketch of all filters preserves.",
    "geometric-median": "Sum of the distances to the other filters: low near the geometric median.",
    "l1": "Sum of the absolute weights of a filter.",
    "l2": "Euclidean norm of the weights of a filter.",
    "nisp": "Importance of the outputs, carried back through the absolute weights.",
    "random": "Uniform random numbers from the layer's seed: the baseline.",
    "similarity": "Cosine distance to the nearest other filter, greedily: of two alike, the weaker one goes.",
}
READER_CRITERIA = {
    "lasso": "The price at which a unit's scalar vanishes from the LASSO fit of the consumers' outputs.",
    "obd-output": "Mean square of what a unit alone contributes to the consumers' outputs, the others unchanged.",
    "obs": "What the consumers' outputs lose if a unit leaves and the weights of all others follow (OBS).",
    "thinet": "Greedily the set of units whose joint contribution to the consumers' outputs is least.",
    "wanda": "Absolute weights times the root mean square of their inputs, summed over all that read a unit.",
}
SAMPLE_CRITERIA = {
    "ablation": "Change of the network's outputs when a unit is masked: one run of the network per unit.",
    "apoz": "Share of the activations of a channel that are not zero: 1 - APoZ.",
    "entropy": "Entropy (nats) of the histogram of a channel's global average over the samples.",
    "hrank": "Mean rank of the feature maps of a channel.",
    "mean-activation": "Mean of the absolute activations of a channel.",
    "std-activation": "Standard deviation of the activations of a channel: a constant one can move into biases.",
}
"""What --help lists; a test keeps them equal to the registries, whose import would take longer than --help may."""

CHOOSING = (
    "ratio",
    "target",
    "criterion",
    "scope",
    "normalise",
    "aggregate",
    "include",
    "exclude",
    "multiple_of",
    "device",
    "min_keep",
    "units",
    "schedule",
    "steps",
)
"""Options that say what leaves. A given plan has said it already."""


class ShrinkCommand(Command):
    """Lists the criteria below the options."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Criteria (the channels with the lowest scores leave)"):
            formatter.write_dl(list(CRITERIA.items()))
        with formatter.section("Criteria with --data, by what a channel does on samples"):
            formatter.write_dl(list(SAMPLE_CRITERIA.items()))
        with formatter.section("Criteria with --data, by the layers that read a channel"):
            formatter.write_dl(list(READER_CRITERIA.items()))
        with formatter.section("Methods (which weights of the layers that stay become zero, with --sparsity)"):
            formatter.write_dl(list(METHODS.items()))


def _complete_criterion(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in (*CRITERIA, *SAMPLE_CRITERIA, *READER_CRITERIA) if name.startswith(incomplete)]


def _choice(*names: str) -> click.Choice[str]:
    return click.Choice(names)


how_much = combined(
    (
        click.option(
            "--ratio",
            metavar="SHARE",
            type=ratio,
            show_default="0.5, without --target",
            help="Share of the removable channels that leaves, 0.5 or 50%.",
        ),
        click.option(
            "--target",
            metavar="COST",
            help="What may be left instead: macs=50%, macs=1.2G, params=2M, size=10MB (of the file that is written), "
            "or latency=50% or latency=4ms: measured here, with --threads. It holds for this machine only.",
        ),
        click.option(
            "--criterion",
            metavar="NAME",
            show_default="obs with --data, otherwise l1",
            shell_complete=_complete_criterion,
            help="How channels are ranked; see below.",
        ),
    )
)
manner = combined(
    (
        click.option(
            "--scope",
            type=_choice("local", "global"),
            show_default="local; global with --target and --data",
            help="The same share from every group, or the lowest scores (with --data: errors) of the model.",
        ),
        click.option(
            "--normalise",
            type=_choice("mean", "max", "sum", "none", "lamp"),
            default="mean",
            show_default=True,
            help="How scores become comparable between groups (with --scope global).",
        ),
        click.option(
            "--aggregate",
            type=_choice("mean", "sum", "max"),
            default="mean",
            show_default=True,
            help="How the scores of the layers of one group become one.",
        ),
        schedule_options("channels"),
    )
)
which = combined(
    (
        click.option(
            "--include",
            metavar="PATTERN",
            multiple=True,
            help="Shrink only these layers: a name, a glob, or type:Conv. Repeatable.",
        ),
        click.option(
            "--exclude",
            metavar="PATTERN",
            multiple=True,
            help="Leave these layers whole; wins over --include. Repeatable.",
        ),
        click.option(
            "--multiple-of",
            metavar="N|auto",
            type=multiple,
            show_default="the step of --device, 8 or 16; narrower layers stay",
            help="Keep a multiple of N channels; groups that cannot stay whole. 1 leaves the choice free: best for "
            "accuracy at equal MACs, often slow. auto: what this machine's kernels do best, measured.",
        ),
        click.option(
            "--device",
            type=_choice("auto", "avx512", "avx2", "neon", "any"),
            default="auto",
            show_default="this machine",
            help="The processor whose kernels the widths are for: a step of 16 channels, of 8 for avx2.",
        ),
        click.option(
            "--min-keep",
            metavar="N|SHARE",
            default="1",
            show_default=True,
            help="The least to keep of every group: a number (8), or a share (0.25 or 25%).",
        ),
        units_option,
    )
)
samples_and_repair = combined(
    (
        data_options,
        click.option(
            "--repair",
            type=_choice("auto", "none", "bias", "merge", "scale-shift", "least-squares", "reconstruct"),
            default="auto",
            show_default="reconstruct with --data, otherwise merge",
            help="Make up for what left: its mean goes into biases (bias), after similar filters took its place "
            "(merge). With --data: every channel is scaled and shifted (scale-shift); each layer that read what left "
            "is refitted (least-squares); and then all weights together, by gradients (reconstruct).",
        ),
    )
)
quality = combined(
    (
        metric_option,
        click.option(
            "--max-drop",
            metavar="D",
            type=float,
            help="How far the metric may fall, in its unit. Without --ratio, --target, --plan: all that allows goes.",
        ),
    )
)
plan_and_output = combined(
    (
        click.option("--dry-run", is_flag=True, help="Plan and report, write no model."),
        click.option("--save-plan", metavar="FILE", type=FilePath(), help="Write the plan as JSON."),
        click.option("--plan", metavar="FILE", type=FilePath(), help="Remove what this plan says."),
        click.option("--report", metavar="FILE", type=FilePath(), help="Write a page with plots (HTML)."),
        bench_option,
        allow_unproven_option,
        writing_options,
    )
)


@click.command("shrink", cls=ShrinkCommand, short_help="Write a smaller, proven model.")
@model_argument("model")
@output_option("The file to write.  [default: MODEL's stem + .pruned.onnx, beside MODEL]")
@how_much
@manner
@which
@sparse_options
@samples_and_repair
@quality
@plan_and_output
@run_options
@output_format
@click.pass_context
def command(
    ctx: click.Context,
    /,
    model: Path,
    output: Path | None,
    plan: Path | None,
    save_plan: Path | None,
    dry_run: bool,
    force: bool,
    format_: str,
    **options: Any,
) -> None:
    """Write a smaller model, proven to be MODEL minus the removed channels."""
    import onnxprune
    from onnxprune.cli.progress import progress
    from onnxprune.report import documents
    from onnxprune.report import shrink as text

    run = ctx.ensure_object(Run)
    options["data"] = options["data"] or None
    options["bench"] = wants_timing(ctx, dry_run)
    check_limit(ctx, options["data"])
    given = _read_plan(ctx, plan, options)
    protected = _check_save_plan(model, output, plan, save_plan, dry_run=dry_run, force=force)
    save_plan = None if save_plan is None else save_plan.absolute()  # before code of the user runs
    if options["report"] is not None:
        from onnxprune.report.html.write import open_report

        plans = [[] if path is None else [path] for path in (plan, save_plan)]
        open_report(options["report"], force=force, inputs=plans[0], outputs=plans[1])
    with progress(run) as callback:
        result = onnxprune.shrink(model, output, plan=given, dry_run=dry_run, force=force, progress=callback, **options)
    result = _with_plan(result, save_plan, protected, force)

    def report() -> Report:
        if run.quiet:
            return text.outcome(result, dry_run=dry_run)
        return text.report(result, dry_run=dry_run, groups=run.verbosity > 0)

    run.show(report, lambda: documents.shrink(result))
    failure = result.failure()
    if failure is not None:
        raise failure


def _with_plan(result: ShrinkResult, path: Path | None, protected: tuple[Path, ...], force: bool) -> ShrinkResult:
    """The result, after its plan was written; if that fails, the model stays."""
    if path is None:
        return result
    from onnxprune.model.outputs import write_text

    try:
        write_text(path, result.plan.dumps(indent=2) + "\n", force=force, inputs=(*protected, *result.written))
    except OutputError as error:
        if not result.written:
            raise
        note = f"the plan was not written: {error.message}"
        return replace(result, notes=(*result.notes, note), problem=result.problem or error)
    return result


def _read_plan(ctx: click.Context, path: Path | None, options: dict[str, Any]) -> Plan | None:
    """The plan to apply. Options that choose are then an error on the command line, and without effect in a file."""
    if path is None:
        return None
    for name in CHOOSING:
        if ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE:
            flag = name.replace("_", "-")
            raise UsageError(
                f"--{flag} has no effect with --plan, which says exactly what to remove.",
                hint=f"Leave out --{flag}, or make a new plan with --dry-run --save-plan.",
            )
    from onnxprune.cut.plan import read

    plan = read(path)
    options["units"] = plan.units
    options["include"] = options["exclude"] = ()
    options["ratio"] = options["target"] = None
    options["normalise"] = "mean"
    return plan


def _check_save_plan(
    model: Path, output: Path | None, plan: Path | None, save_plan: Path | None, *, dry_run: bool, force: bool
) -> tuple[Path, ...]:
    """Find out before the run that the plan cannot be saved. The files that it must not replace."""
    if save_plan is None:
        return ()
    from onnxprune.api.shrink import default_output
    from onnxprune.model import load
    from onnxprune.model.outputs import check_target

    target = output if output is not None else default_output(model)
    protected = (*load(model).origin, *([] if plan is None else [plan.absolute()]))
    if not dry_run and os.path.abspath(save_plan) in (os.path.abspath(target), f"{os.path.abspath(target)}.data"):
        raise UsageError(f"--save-plan names the model that is to be written, {str(save_plan)!r}.")
    check_target(save_plan, force=force, inputs=protected)
    return protected
