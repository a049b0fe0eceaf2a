"""Removal in steps: a part leaves, the rest is repaired, the next part is chosen in the network that this gives.

What is left adapts between the steps, so later choices see how it does. Every step is planned, cut and repaired as if
the network before it were the model, with two exceptions: reconstruction always aims at the original, and how much of a
group may leave, and in which multiples, follows from its width in the original and the share that is to have left by
then. So the widths of every step are those that one step to the same share would give, and what a step rounds away is
not lost. The plan of all steps together is one plan of the original, proven as any other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.budget import Counted
from onnxprune.choose.ranking import Selection, selected
from onnxprune.choose.request import Request
from onnxprune.choose.schedule import shares
from onnxprune.choose.target import Target
from onnxprune.cut import CutError, cut
from onnxprune.cut.plan import of_masks
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import VerificationError
from onnxprune.shrinking.measured import open_meter, target_summary
from onnxprune.shrinking.planning import Choice, Run, ending, plan_and_cut, with_multiple
from onnxprune.shrinking.repairs import Stage, mend
from onnxprune.trace import Trace, trace_again

Bools = NDArray[np.bool_]


def plan_in_steps(run: Run) -> Choice:
    """As `plan_and_cut`, in the steps of the request. Raises the same."""
    if run.request.steps == 1 or run.plan is not None:
        return plan_and_cut(run)
    run = with_multiple(run, lambda: open_meter(run.traced, run.samples, run.on_cpu))  # one number for all steps
    traced, keep = run.traced, np.ones(run.traced.unit_count, bool)
    budget = None if run.request.target is None else Counted(traced, run.request.target)
    asked = _shares(run.request, budget)
    for number, share in enumerate(asked):
        last = number + 1 == len(asked)
        request = _request(run, share, traced, keep, None if budget is None else _target(budget, share, last))
        here = plan_and_cut(replace(run, traced=traced, request=request))
        before, keep = keep, composed(run.traced, keep, here.traced, here.keep)
        if not last and here.plan.removed_count:
            run.clock.start("repair")
            with ending(run):
                model, _ = mend(
                    here.traced,
                    here.keep,
                    here.smaller,
                    request.repair,
                    run.samples,
                    whole=(run.traced, keep),
                    seed=request.options.seed,
                    threads=run.threads,
                    progress=run.clock.steps("rebuild"),
                )
            run.clock.start("trace")
            traced = _in_units_of(run.traced, keep, trace_again(model, run.traced))
    reasons = _reasons(run.traced, keep, origins(run.traced, before, here.traced), here)
    return _together(run, keep, reasons, budget, Stage(here.traced, here.keep, here.smaller))


def _shares(request: Request, budget: Counted | None) -> list[float]:
    """What is to have left after each step: of the units, or of the cost that the target counts."""
    whole = request.options.ratio
    if budget is not None:
        whole = 1.0 - min(budget.limit / max(budget.before, 1.0), 1.0)
    return shares(request.schedule, whole, request.steps)


def _target(budget: Counted, share: float, last: bool) -> Target:
    """What is to be left after a step. The last one has the limit itself: 1 - (1 - x) need not be x."""
    return Target(budget.kind, None, budget.limit if last else (1.0 - share) * budget.before)


def _request(run: Run, share: float, later: Trace, keep: Bools, target: Target | None) -> Request:
    """What a step asks of `later`, the network that keeps `keep`, so that `share` of the original has left."""
    request = replace(run.request, steps=1)
    if target is not None:
        return replace(request, target=target)
    if request.options.scope == "global":
        share = _of_the_rest(run, share, later, keep)
    return replace(request, options=replace(request.options, ratio=share))


def _of_the_rest(run: Run, share: float, later: Trace, keep: Bools) -> float:
    """`share` of all units together as a share of the groups that `later` still has: those that cannot shrink further
    (a channel that is alone is none) have given theirs.
    """
    stay = selected(run.traced, run.request.options)
    groups = [group for group in run.traced.prunable if group.name not in stay]
    there = np.zeros(run.traced.unit_count, bool)
    origin = origins(run.traced, keep, later)
    for group in later.prunable:
        there[origin[group.units]] = True
    here = [group for group in groups if there[group.units].any()]
    done = [group for group in groups if not there[group.units].any()]
    wanted = share * sum(g.size for g in groups) - sum(int((~keep[g.units]).sum()) for g in done)
    return float(np.clip(wanted / max(sum(g.size for g in here), 1), 0.0, share)) if done else share


def _in_units_of(trace: Trace, keep: Bools, later: Trace) -> Trace:
    """`later`, the network that keeps `keep` of `trace`, with how many units of that each of its units stands for."""
    origin = origins(trace, keep, later)
    weight = np.ones(trace.unit_count)
    for group in trace.prunable:
        weight[group.units] = group.size / max(int(keep[group.units].sum()), 1)
    return replace(later, stands_for=weight[origin][later.table])


def _reasons(trace: Trace, keep: Bools, origin: NDArray[np.int64], last: Choice) -> dict[str, str]:
    """Why groups of `trace` lost nothing in all steps: what the last one says, which asked for all of it.

    `origin` is of the units of the last step. A group that has lost units needs no reason, whatever a step found.
    """
    said = {} if last.selection is None else last.selection.reasons
    by_unit = {
        int(origin[unit]): said[group.name]
        for group in last.traced.prunable
        if group.name in said
        for unit in group.units
    }
    whole = [group for group in trace.prunable if keep[group.units].all()]
    found = {group.name: next((by_unit[u] for u in group.units.tolist() if u in by_unit), None) for group in whole}
    return {name: reason for name, reason in found.items() if reason is not None}


def origins(trace: Trace, keep: Bools, later: Trace) -> NDArray[np.int64]:
    """The unit of `trace` that every unit of `later`, the network that keeps `keep`, is; 0 for those not found.

    The values of both networks have the same names, and their indices the same order.
    """
    original = np.zeros(later.unit_count, np.int64)
    for key in later.state.axes:
        for new, old in zip(later.axes(key), trace.axes(key), strict=False):
            if new is not None and old is not None:
                old = old[keep[old]]
                if old.shape == new.shape:
                    original[new] = old
    original[0] = 0
    return original


def composed(trace: Trace, keep: Bools, later: Trace, later_keep: Bools) -> Bools:
    """`keep` (units,) of a trace without what a trace of the network that it leaves loses by `later_keep`."""
    original = origins(trace, keep, later)
    gone = np.flatnonzero(~later_keep)
    if (original[gone] == 0).any():
        raise VerificationError("what a later step removes was not found in the original")
    result: Bools = keep.copy()
    result[original[gone]] = False
    return result


def _together(run: Run, keep: Bools, reasons: dict[str, str], budget: Counted | None, stage: Stage) -> Choice:
    """All steps as one choice in the original."""
    trace, request = run.traced, run.request
    groups = tuple(trace.prunable)
    masks = tuple(keep[group.units] for group in groups)
    recorded = request.recorded(None if run.samples is None else run.samples.count)
    planned = of_masks(trace, groups, masks, units=trace.units_mode, options=recorded)
    run.clock.start("cut")
    try:
        smaller = cut(trace, keep)
    except CutError as refusal:
        raise VerificationError(f"the steps together cannot be applied: {refusal}") from refusal
    found = PlannedCost(trace).macs(keep), PlannedCost(stage.traced).macs(stage.keep)
    if found[0] != found[1]:
        raise VerificationError(f"the steps together leave {found[0]} multiply-accumulates, one by one {found[1]}")
    summary = target_summary(request, budget, keep)
    return Choice(trace, planned, Selection(groups, masks, reasons), smaller, keep, summary, stage=stage)
