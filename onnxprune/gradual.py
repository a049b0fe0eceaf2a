"""Removal in steps: a part leaves, the rest is repaired, the next part is chosen in the network that this gives.

What is left adapts between the steps, so later choices see how it does. Every step is planned, cut and repaired as if
the network before it were the model; only reconstruction always aims at the original. The plan of all steps together is
one plan of the original, proven as any other.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.budget import Counted
from onnxprune.budgets import open_meter, target_summary
from onnxprune.choose import Selection
from onnxprune.cut import CutError, cut
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import VerificationError
from onnxprune.mend import Stage, mend
from onnxprune.plan import of_masks
from onnxprune.planning import Choice, Run, plan_and_cut, with_multiple
from onnxprune.request import Request
from onnxprune.schedule import shares
from onnxprune.target import Target
from onnxprune.trace import Trace, trace_model

Bools = NDArray[np.bool_]


def plan_in_steps(run: Run) -> Choice:
    """As `plan_and_cut`, in the steps of the request. Raises the same."""
    if run.request.steps == 1 or run.plan is not None:
        return plan_and_cut(run)
    run = with_multiple(run, lambda: open_meter(run.traced, run.samples, run.threads))  # one number for all steps
    traced, keep = run.traced, np.ones(run.traced.unit_count, bool)
    budget = None if run.request.target is None else Counted(traced, run.request.target)
    reasons: dict[str, str] = {}
    asked = _shares(run.request, budget)
    for number, share in enumerate(asked):
        request = _request(run, share, keep, budget)
        here = plan_and_cut(replace(run, traced=traced, request=request))
        keep = composed(run.traced, keep, here.traced, here.keep)
        reasons = here.selection.reasons if here.selection else reasons
        if number + 1 < len(asked) and here.plan.removed_count:
            run.clock.start("repair")
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
            traced = trace_model(model, units=run.traced.units_mode)
    return _together(run, keep, reasons, budget, Stage(here.traced, here.keep, here.smaller))


def _shares(request: Request, budget: Counted | None) -> list[float]:
    """What is to have left after each step: of the units, or of the cost that the target counts."""
    whole = request.options.ratio
    if budget is not None:
        whole = 1.0 - min(budget.limit / max(budget.before, 1.0), 1.0)
    return shares(request.schedule, whole, request.steps)


def _request(run: Run, share: float, keep: Bools, budget: Counted | None) -> Request:
    """What a step asks of the network that keeps `keep`, so that `share` of the original has left."""
    request = replace(run.request, steps=1)
    if budget is not None:
        return replace(request, target=Target(budget.kind, None, (1.0 - share) * budget.before))
    units = [group.units for group in run.traced.prunable]
    kept = sum(int(keep[u].sum()) for u in units) / max(sum(len(u) for u in units), 1)
    ratio = max(1.0 - (1.0 - share) / kept, 0.0) if kept > 0 else 0.0
    return replace(request, options=replace(request.options, ratio=ratio))


def composed(trace: Trace, keep: Bools, later: Trace, later_keep: Bools) -> Bools:
    """`keep` (units,) of a trace without what a trace of the network that it leaves loses by `later_keep`.

    The values of both networks have the same names, and their indices the same order.
    """
    original = np.zeros(later.unit_count, np.int64)
    for key in later.state.axes:
        for new, old in zip(later.axes(key), trace.axes(key), strict=False):
            if new is not None and old is not None:
                old = old[keep[old]]
                if old.shape == new.shape:
                    original[new] = old
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
    whole = {group.name: reasons[group.name] for group in groups if group.name in reasons}
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
    return Choice(trace, planned, Selection(groups, masks, whole), smaller, keep, summary, stage=stage)
