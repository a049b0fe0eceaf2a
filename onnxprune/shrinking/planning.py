"""From samples to a cut model: choose and cut, and repair."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.kept import key_of
from onnxprune.capture.samples import Samples
from onnxprune.choose.blocks import select_blocks
from onnxprune.choose.budget import Budget, OutOfReach
from onnxprune.choose.ranking import Selection, on_groups_of, remembered
from onnxprune.choose.reach import narrowest, settled
from onnxprune.choose.request import Request
from onnxprune.choose.select import Known, select
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import Plan, keep_of, of_masks
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.cut.provenance import record
from onnxprune.errors import VerificationError
from onnxprune.measure.gate import Gate
from onnxprune.measure.latency.form import Form
from onnxprune.measure.latency.meter import Meter
from onnxprune.measure.latency.multiple import best_multiple
from onnxprune.measure.latency.table import Table
from onnxprune.measure.summaries import block_changes, calibration_summary, changes, summary
from onnxprune.model.load import Model
from onnxprune.model.sources import Place
from onnxprune.repair.lessons import Effort
from onnxprune.results import RepairSummary, ShrinkResult, TargetSummary
from onnxprune.results.clock import Clock
from onnxprune.results.progress import Watch
from onnxprune.results.providers import Threads, count
from onnxprune.shrinking.measured import Timed, bytes_written, far_below, open_budget, open_meter, target_summary
from onnxprune.shrinking.recovery import Recovery
from onnxprune.shrinking.repairs import RECONSTRUCT, Stage, mended
from onnxprune.sparsifying.request import SparseRequest
from onnxprune.sparsifying.stage import Sparsified, sparsified
from onnxprune.trace import Trace, trace_again

MAX_ATTEMPTS = 20


@dataclass(frozen=True)
class Run:
    """What a call of `shrink` works with. `place`: where the result goes, or would go."""

    traced: Trace
    request: Request
    plan: Plan | None
    samples: Samples | None
    gate: Gate | None
    threads: Threads
    clock: Clock
    place: Place
    sparse: SparseRequest | None = None
    form: Form | None = None
    """what the file will have of the network, if not itself: targets are counted and measured so"""
    table: Table | None = None
    """layers that were timed before"""
    known: Known | None = None
    """errors of groups that were measured before, on this trace and these samples"""
    recovered: dict[str, float | None] | None = None
    """by name, what a short repair left of the error without a block, likewise"""

    @property
    def on_cpu(self) -> int:
        """`threads` of what is proven and measured, which is on the CPU in any case."""
        return count(self.threads)


@dataclass(frozen=True)
class Choice:
    """What leaves, for the trace as everybody else gets it, and the cut."""

    traced: Trace
    plan: Plan
    selection: Selection | None
    smaller: Model
    keep: NDArray[np.bool_]
    target: TargetSummary | None = None
    notes: tuple[str, ...] = ()
    stage: Stage | None = None
    """of a removal in steps, the last"""


def plan_and_cut(run: Run) -> Choice:
    """Choose and cut; where a rule cannot express the choice, pin what it names and choose again.

    The plan is for the trace as it was before these pins, which is the one that everybody else gets.
    """
    unpinned, traced = run.traced, replace(run.traced)
    refusals: list[str] = []
    meter = functools.cache(lambda: open_meter(unpinned, run.samples, run.on_cpu, run.form, run.table))
    run = with_multiple(run, meter)
    budget: Budget | None = None
    while True:
        selection = None
        if run.plan is None:
            try:
                budget = _budget(traced, run, meter)
                selection = _select(traced, replace(run, known=None) if refusals else run, budget)
            except CutError as refusal:  # of a choice that was tried
                _refuse(traced, refusal, refusals)
                continue
            if refusals:
                selection = on_groups_of(unpinned, traced, selection)
            recorded = run.request.recorded(None if run.samples is None else run.samples.count)
            planned = of_masks(
                unpinned,
                selection.groups,
                selection.keep,
                units=traced.units_mode,
                options=recorded,
                blocks=selection.blocks,
            )
        else:
            planned = run.plan
        keep = keep_of(planned, unpinned)
        run.clock.start("cut")
        try:
            smaller = cut(unpinned, keep)
            if refusals:  # counted in the units of the trace as it was
                budget = _budget(unpinned, run, meter)
            asked = target_summary(run.request, budget, keep)
            notes = (*(budget.notes if isinstance(budget, Timed) else ()), *(selection.notes if selection else ()))
            notes += tuple(f"a part stays: {reason}" for reason in sorted(set(refusals)) if not planned.removed_count)
            return Choice(unpinned, planned, selection, smaller, keep, asked, notes)
        except CutError as refusal:
            if run.plan is not None:
                raise VerificationError(f"the plan cannot be applied: {refusal}") from refusal
            _refuse(traced, refusal, refusals)


def _refuse(traced: Trace, refusal: CutError, refusals: list[str]) -> None:
    """Let stay what a cut could not be made of; everything, after so many that there seems to be no end."""
    refusals.append(str(refusal))
    if len(refusals) > MAX_ATTEMPTS:  # nothing is to leave any more
        raise VerificationError(f"the model cannot be cut: {refusal}") from refusal
    if len(refusals) < MAX_ATTEMPTS:
        traced.pin_node(refusal.node, str(refusal))
    else:
        traced.pin_all(str(refusal))


def repaired(run: Run, choice: Choice) -> Model:
    """What would be written."""
    model, _ = mended_cut(run, choice, record(choice.smaller, choice.traced.graph.model, choice.plan))
    return model if run.sparse is None else sparsified_cut(run, choice, model, run.sparse).model


def mended_cut(
    run: Run, choice: Choice, recorded: Model, *, effort: Effort | None = None
) -> tuple[Model, RepairSummary | None]:
    """The cut with its provenance, `recorded`, repaired; itself if nothing left. `effort`: of `reconstruct`, if not as
    asked for.
    """
    if choice.keep.all():
        return recorded, None
    run.clock.start("repair")
    with ending(run):
        return mended(
            choice.traced,
            choice.keep,
            recorded,
            run.request.repair,
            run.samples,
            choice.stage,
            seed=run.request.options.seed,
            effort=Effort(run.request.effort) if effort is None else effort,
            threads=run.threads,
            progress=run.clock.steps("rebuild"),
        )


def ending(run: Run) -> AbstractContextManager[None]:
    """Repair may be ended at its best so far: the one that comes nearer to the original step by step."""
    return run.clock.ending.offered() if run.request.repair == RECONSTRUCT else nullcontext()


def sparsified_cut(run: Run, choice: Choice, model: Model, request: SparseRequest) -> Sparsified:
    """`model`, which is the repaired cut, with sparse weights."""
    run.clock.start("trace")
    whole = (choice.traced, choice.keep)
    return sparsified(
        trace_again(model, choice.traced), request, run.samples, run.clock, whole=whole, threads=run.threads
    )


def with_multiple(run: Run, meter: Callable[[], Meter]) -> Run:
    """`--multiple-of auto` as a number, measured."""
    if not run.request.auto_multiple or run.plan is not None:
        return run
    run.clock.start("measure")
    seconds, macs = meter().network(run.traced).cost, PlannedCost(run.traced).macs
    key = key_of(run.clock.memory, run.traced.graph.model, repr(run.request.options))
    best = run.clock.memory.call("multiple", key, lambda: best_multiple(run.traced, seconds, macs))
    options = replace(run.request.options, multiple_of=best)
    return replace(run, request=replace(run.request, options=options, auto_multiple=False, measured_multiple=True))


def _budget(traced: Trace, run: Run, meter: Callable[[], Meter]) -> Budget | None:
    """What the target allows. For one in time the layers are measured now."""
    request = run.request
    if request.target is None:
        return None
    run.clock.start("measure")
    options = request.recorded(None if run.samples is None else run.samples.count)

    # with widths of the user's own, what is asked for is accuracy at equal cost
    timed = request.options.multiple_of is None or request.measured_multiple
    device = request.options.device if timed else None

    def written(keep: NDArray[np.bool_]) -> int:
        return bytes_written(traced, keep, options, request.repair, run.place, run.form)

    narrow = None if traced.units_mode == "blocks" else narrowest(traced, request.options)
    return open_budget(traced, request.target, device, meter, written, run.form, narrow)


def _select(traced: Trace, run: Run, budget: Budget | None) -> Selection:
    samples, request = run.samples, run.request
    run.clock.start("plan" if samples is None else "capture")
    batches = None if samples is None else samples.batches
    steps = run.clock.steps("plan")
    held_out = 0 if samples is None else samples.held_out
    if traced.units_mode == "blocks":
        recovered = _recovery(traced, run)
        ahead = None if recovered is None else recovered.beforehand
        chooser = functools.partial(select_blocks, recovered=recovered, beforehand=ahead)
    else:
        chooser = functools.partial(select, known=run.known)

    def chosen() -> Selection:
        options = request.options
        try:
            return chooser(traced, options, batches, budget, held_out=held_out, threads=run.threads, progress=steps)
        except OutOfReach as problem:
            if budget is None:
                raise
            return settled(problem, traced, options, budget)

    if run.form is not None:  # what a file has of a network is no value that could be compared
        return chosen()
    return remembered(run.clock.memory, traced, [repr(request.options), request.target_text, request.repair], chosen)


def _recovery(traced: Trace, run: Run) -> Recovery | None:
    """Of blocks whose loss will be made up for."""
    if run.samples is None or run.request.repair != RECONSTRUCT:
        return None
    known = {} if run.recovered is None else run.recovered
    watch = Watch(None, run.clock)
    return Recovery(traced, run.samples, known, watch, seed=run.request.options.seed, threads=run.threads)


def _removable(traced: Trace, planned: Plan) -> int:
    """Units that could leave, and that weights produce: nothing else is chosen, though a plan given may say so."""
    named = {group.name for group in planned.groups}
    units = sum(g.size for g in traced.prunable if g.members or g.name in named)
    return units + len(traced.removable_branches)


def outcome(source: Model, choice: Choice, run: Run) -> ShrinkResult:
    """What is known before anything is written."""
    traced, planned, samples = choice.traced, choice.plan, run.samples
    request = run.request if run.plan is None else None
    by_ratio = request is not None and request.target is None
    notes = (*source.notes, *(samples.notes if samples else ()), *choice.notes, *far_below(run.request, choice.target))
    return ShrinkResult(
        summary(source, traced.graph, traced.facts),
        None,
        planned,
        changes(traced, choice.selection, planned),
        request.options.ratio if request is not None and by_ratio else None,
        planned.removed_count / max(_removable(traced, planned), 1),
        None,
        None,
        (),
        {},
        notes=notes,
        target=choice.target,
        calibration=calibration_summary(samples),
        blocks=block_changes(traced, choice.selection, planned),
        curves=choice.selection.curves if choice.selection else (),
    )
