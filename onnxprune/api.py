"""What the commands do, as functions. Nothing here prints; progress goes to a callback, results are plain values."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from onnxprune.choose import near_names
from onnxprune.clock import Clock
from onnxprune.errors import OnnxPruneError, UsageError
from onnxprune.gradual import plan_in_steps
from onnxprune.html.command import command, shrink_commands
from onnxprune.html.inspect import inspect_page
from onnxprune.html.shrink import shrink_page
from onnxprune.html.write import ReportFile, open_report, shrink_file
from onnxprune.measure.gate import open_gate
from onnxprune.measuring import bench, check, environment
from onnxprune.model.load import Model
from onnxprune.model.save import check_output
from onnxprune.packing import pack, unpack
from onnxprune.plan import Plan, check_source
from onnxprune.planning import Run, largest_within, outcome, repaired
from onnxprune.publish import Publication, publish
from onnxprune.request import resolve
from onnxprune.results import (
    Difference,
    GroupSummary,
    Inspection,
    ProgressCallback,
    ShrinkResult,
)
from onnxprune.samples import files_of, open_samples
from onnxprune.sources import beside, destination, opened
from onnxprune.sparsifying import sparsify
from onnxprune.sparsity.request import resolve_stage
from onnxprune.summaries import (
    block_summaries,
    calibration_summary,
    group_summary,
    layer_costs,
    operators_without_rule,
    refusal_notes,
    summary,
    summary_of,
    with_size,
)
from onnxprune.trace import trace_model
from onnxprune.verifying import verify

SUFFIX = ".pruned.onnx"
DENSE = "the plan also made weights zero, and this run did not: --sparsity or --pattern does that"
UNMASKED = "which weights become zero is chosen after the cut and its repair, so not in a dry run"


def default_output(model: Path) -> Path:
    """Where the result of `shrink` goes by default: beside the model, as NAME.pruned.onnx."""
    return beside(model, SUFFIX)


def shrink(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    ratio: float | None = None,
    target: str | None = None,
    criterion: str | None = None,
    scope: str | None = None,
    normalise: Any = "mean",
    aggregate: Any = "mean",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    multiple_of: int | str | None = None,
    min_keep: str | int | float = 1,
    units: str = "channels",
    schedule: str | None = None,
    steps: int | None = None,
    sparsity: float | None = None,
    pattern: str | None = None,
    method: str | None = None,
    emit: str = "operators",
    lock: bool = False,
    max_error: float | None = None,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    repair: str = "auto",
    metric: str | Callable[[str], float] | None = None,
    max_drop: float | None = None,
    plan: Plan | None = None,
    dry_run: bool = False,
    verify: bool = True,
    force: bool = False,
    external_data: Any = "auto",
    report: str | Path | None = None,
    bench: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> ShrinkResult:
    """Remove the share `ratio` of the removable channels (0.5), or what meets `target` ("macs=50%", "params=2M",
    "size=10MB" may be left, or "latency=50%", "latency=4ms" as measured here with `threads`), or of the attention heads
    or residual blocks (`units`); prove the result, and write it to `out`. What stays are multiples of 4 channels, of 8
    in wider and of 16 in the widest layers, or of `multiple_of`; "auto" measures here which is best.

    `data` are calibration samples: a path, a mapping of arrays (or of their names to .npy files), a function, a
    Calibration (see `onnxprune.data.open_data`). With them the criterion is obs and repair is reconstruction by
    default; without, l1 and merging. `metric` (a function, or "file.py:function") scores the path of a model,
    higher is better; the result may score at most `max_drop` less than the original. Without `ratio`, `target` and
    `plan`, the largest ratio that this allows is searched for; GateError if there is none. With `plan`, exactly that is
    removed. With a `schedule` (linear, exp, cos, cube) it leaves in `steps` (3), each followed by repair.

    With `sparsity` or `pattern`, the weights of what stays become sparse after that, as `sparsify` does it with the
    same `method`, `emit`, `lock` and `max_error`, and with this `scope`, `include` and `exclude`; repair still aims at
    the original.

    `verify=False` skips the proof (for experiments; the commands never do). Raises an OnnxPruneError; then
    nothing was written. `report` is an HTML file to write; with `bench`, the result is timed for it in turn with the
    original (5 s, and a profile); if that or the report fails, the model stays, and `problem` says what it was.
    """
    given = dict(locals())
    clock = Clock(progress)
    request = resolve(
        ratio=ratio,
        target=target,
        criterion=criterion,
        scope=scope,
        repair=repair,
        with_data=data is not None,
        preprocess=preprocess,
        samples=samples,
        normalise=normalise,
        aggregate=aggregate,
        include=include,
        exclude=exclude,
        multiple_of=multiple_of,
        min_keep=min_keep,
        seed=seed,
        units=plan.units if plan else units,
        schedule=schedule,
        steps=steps,
    )
    sparse = resolve_stage(
        request, sparsity=sparsity, pattern=pattern, method=method, emit=emit, lock=lock, max_error=max_error
    )
    zeros = plan is not None and sparse is None and "sparsity" in plan.options
    if plan is not None:  # weights become sparse as this call says
        options = {key: value for key, value in plan.options.items() if key != "sparsity"}
        plan = replace(plan, sparsity=None, options=options)
    if plan is not None and (ratio is not None or target is not None):
        raise UsageError("a plan says exactly what to remove: neither a ratio nor a target has an effect with it")
    source = opened(model)
    place = destination(source, out, SUFFIX, dry_run)
    protected = (*source.origin, *files_of(data), *files_of(metric))
    if place is not None and not dry_run:
        check_output(place, force=force, inputs=protected)
    page = shrink_file(given, place, protected)
    if metric is not None:
        clock.start("measure")
    # threads of BLAS spin against those of ONNX Runtime: several times slower, and the products here are small
    with threadpool_limits(1, user_api="blas"), open_gate(metric, max_drop, source) as gate:
        clock.start("trace")
        traced = trace_model(source, units=plan.units if plan else units)
        if plan is not None:
            check_source(plan, traced)
        found = None
        if data is not None:
            clock.start("capture")
            found = open_samples(data, traced, preprocess=preprocess, samples=samples, max_memory=max_memory, seed=seed)
        run = Run(traced, request, plan, found, gate, threads, clock, place, external_data, sparse)
        search = gate is not None and max_drop is not None and ratio is None and target is None and plan is None
        choice = largest_within(run, plan_in_steps) if search else plan_in_steps(run)
        result = outcome(source, choice, run)
        if zeros:
            result = replace(result, notes=(*result.notes, DENSE))
        if search:
            result = replace(result, asked_ratio=None)
        if dry_run or place is None or (choice.plan.removed_count == 0 and sparse is None):
            if gate is not None and not search and choice.plan.removed_count:
                gate.check(repaired(run, choice))
            notes = (*result.notes, *([UNMASKED] if sparse is not None else []))
            result = replace(result, metric=gate.summary() if gate else None, seconds=clock.finish(), notes=notes)
            return _reported(page, result, given)
        how = Publication(
            place,
            protected,
            request.repair,
            found,
            verify,
            force,
            external_data,
            seed,
            threads,
            gate,
            choice.stage,
            sparse,
        )
        done = publish(choice.traced, choice.keep, choice.smaller, choice.plan, how, clock)
        result = replace(
            result,
            plan=done.plan,
            after=done.after if done.written else None,
            sparsity=done.sparsity,
            proof=done.proof,
            repair=done.repair,
            fidelity=done.fidelity,
            metric=gate.summary() if gate else None,
            written=done.written,
            calibration=calibration_summary(found),
            target=with_size(result.target, done.written),
            seconds=clock.finish(),
        )
    return _reported(page, result, given)


def inspect(
    model: str | Path | Model,
    *,
    units: str = "channels",
    report: str | Path | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> Inspection:
    """What can be removed, what stays and why, and what each layer costs. `report` is an HTML file to write."""
    clock = Clock(progress)
    source = opened(model)
    page = open_report(report, force=force, inputs=source.origin)
    clock.start("trace")
    traced = trace_model(source, units=units)
    clock.finish()
    result = Inspection(
        summary(source, traced.graph, traced.facts),
        tuple(group_summary(traced, g) for g in traced.groups if g.members or g.pin is None),
        tuple(layer_costs(traced)),
        operators_without_rule(traced),
        (*source.notes, *refusal_notes(traced)),
        block_summaries(traced),
        units,
    )
    if page is not None:
        page.write(
            inspect_page(result, environment(), [command("inspect", [model], {"units": units}, {"units": "channels"})])
        )
    return result


def why(model: str | Path | Model, node: str, *, units: str = "channels") -> tuple[GroupSummary, ...]:
    """The groups that the inputs and outputs of a node carry, with the reasons of those that stay."""
    if units == "blocks":
        raise UsageError("one node is explained for channels or heads.", hint="inspect --units blocks lists all.")
    traced = trace_model(opened(model), units=units)
    found = [n for n in traced.graph.nodes if n.label == node or node in n.proto.output]
    if not found:
        raise UsageError(f"no node is called {node!r}.", hint=near_names(node, [n.label for n in traced.graph.nodes]))
    index = found[0].index
    groups = tuple(group_summary(traced, g) for g in traced.groups_at(index))
    refusal = traced.state.refusals.get(index)
    if refusal is not None and not any(g.pinned for g in groups):
        groups += (GroupSummary(found[0].label, 0, (), refusal, found[0].label),)
    return groups


def diff(a: str | Path | Model, b: str | Path | Model) -> Difference:
    """What distinguishes two models."""
    from onnxprune.differences import difference

    first, second = opened(a), opened(b)
    return difference(first, second, summary_of(first, first.path), summary_of(second, second.path))


# ---- inner -----------------------------------------------------------------------------------------------------
def _reported(page: ReportFile | None, result: ShrinkResult, given: Mapping[str, Any]) -> ShrinkResult:
    """The result, after its report was written. What fails once the model is there does not take it back."""
    if page is None:
        return result
    timed, problem = None, None
    if given["bench"] and result.written:
        how = {key: given[key] for key in ("data", "preprocess", "seed", "progress")}
        try:
            timed = bench(given["model"], result.written[0], threads=given["threads"] or None, profile=True, **how)
        except OnnxPruneError as error:
            problem = error
            result = replace(result, notes=(*result.notes, f"the result was not timed: {error.message}"))
    commands = shrink_commands(given, shrink.__kwdefaults__ or {})
    text = shrink_page(result, environment(), commands, dry_run=given["dry_run"], bench=timed)
    try:
        page.write(text, result.written)
    except OnnxPruneError as error:
        if not result.written:
            raise
        problem = problem or error
        result = replace(result, notes=(*result.notes, f"the report was not written: {error.message}"))
    return replace(result, problem=problem)


__all__ = [
    "OnnxPruneError",
    "bench",
    "check",
    "default_output",
    "diff",
    "environment",
    "inspect",
    "pack",
    "shrink",
    "sparsify",
    "unpack",
    "verify",
    "why",
]
