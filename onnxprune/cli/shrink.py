"""`onnxprune shrink`: a smaller model."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from onnxprune.cli.failure import leave
from onnxprune.cli.options import Command, arguments, check_limit, declared, model_argument, wants_timing
from onnxprune.cli.run import Run
from onnxprune.errors import OutputError, UsageError
from onnxprune.options.declare import planned
from onnxprune.options.lists import CRITERIA, METHODS, READER_CRITERIA, SAMPLE_CRITERIA
from onnxprune.options.shrinking import ShrinkOptions

if TYPE_CHECKING:
    from onnxprune.cut.plan import Plan
    from onnxprune.report.blocks import Report
    from onnxprune.results import ShrinkResult


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
        super().format_epilog(ctx, formatter)


@click.command("shrink", cls=ShrinkCommand, short_help="Write a smaller, proven model.")
@model_argument("model")
@declared(ShrinkOptions)
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
    **given: Any,
) -> None:
    """Write a smaller model, proven to be MODEL minus the removed channels."""
    import onnxprune
    from onnxprune.cli.progress import watched
    from onnxprune.report import documents
    from onnxprune.report import shrink as text

    run = ctx.ensure_object(Run)
    options = arguments(ShrinkOptions, ctx.params) | {"bench": wants_timing(ctx, dry_run)}
    check_limit(ctx, options["data"])
    options["plan"] = _read_plan(ctx, plan, options)
    protected = _check_save_plan(model, output, plan, save_plan, dry_run=dry_run, force=force)
    save_plan = None if save_plan is None else save_plan.absolute()  # before code of the user runs
    if options["report"] is not None:
        from onnxprune.report.html.write import open_report

        plans = [[] if path is None else [path] for path in (plan, save_plan)]
        open_report(options["report"], force=force, inputs=plans[0], outputs=plans[1])
    with watched(run, ctx.params) as callback:
        target = onnxprune.BESIDE if output is None else output
        result = onnxprune.shrink(model, target, progress=callback, **options)
    result = _with_plan(result, save_plan, protected, force)

    def report() -> Report:
        if run.quiet:
            return text.outcome(result, dry_run=dry_run)
        return text.report(result, dry_run=dry_run, groups=run.verbosity > 0)

    run.show(report, lambda: documents.shrink(result))
    failure = result.failure()
    if failure is not None:
        raise failure
    leave(result)


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
    for one in planned(ShrinkOptions):
        if ctx.get_parameter_source(one.name) == ParameterSource.COMMANDLINE:
            raise UsageError(
                f"{one.flag} has no effect with --plan, which says exactly what to remove.",
                hint=f"Leave out {one.flag}, or make a new plan with --dry-run --save-plan.",
            )
        options[one.name] = one.default
    from onnxprune.cut.plan import read

    plan = read(path)
    options["units"] = plan.units
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
