"""Which units leave, with or without data, by a share or to a target.

| criterion | data | scope local | scope global |
| --- | --- | --- | --- |
| weights | no | the same share of every group | the lowest scores of the model |
| weights, activations | yes | the same share of every group | least error of a refit, in the order of scores |
| consumers | yes | the same share of every group | least error |

With a target, local is the smallest share that meets it, and least error is least error per cost.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.allocate import widths
from onnxprune.allocate.by_cost import Curve, by_cost
from onnxprune.allocate.groups import check_ratio
from onnxprune.allocate.widths import keep_mask, removal_order
from onnxprune.calibrated import NO_READER, choose_calibrated
from onnxprune.choose import Options, Ranking, Selection, allocate, entry, even_blocks, ranked, selected
from onnxprune.criteria import CONSUMERS, Batches, Steps, family, scores_of
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import UsageError
from onnxprune.orders import by_criterion, by_order, judged_curves
from onnxprune.reselect import reselect
from onnxprune.score.consumers import Removal
from onnxprune.target import Target
from onnxprune.trace.groups import Trace

LARGEST_RATIO, PRECISION = 1.0 - 1e-9, 1e-7


def select(
    trace: Trace,
    options: Options,
    batches: Batches | None,
    target: Target | None,
    *,
    threads: int = 0,
    progress: Steps | None = None,
) -> Selection:
    """See the table above. `options.ratio` has no effect with a target. Raises UsageError."""
    check_ratio(options.ratio)
    by_readers = family(options.criterion) == CONSUMERS
    if batches is not None and by_readers and (options.scope == "global") == (target is not None):
        return choose_calibrated(trace, options, batches, target, threads=threads, progress=progress)
    if batches is not None and (by_readers or options.scope == "global"):
        return _by_error(trace, options, batches, target, threads, progress)
    ranking = _ranked(trace, options, batches, threads, progress)
    return allocate(trace, options, ranking) if target is None else _to_target(trace, options, ranking, target)


def _ranked(trace: Trace, options: Options, batches: Batches | None, threads: int, progress: Steps | None) -> Ranking:
    return ranked(trace, options, lambda g: scores_of(trace, g, options, batches, threads=threads, progress=progress))


def _to_target(trace: Trace, options: Options, ranking: Ranking, target: Target) -> Selection:
    """The smallest share that meets the target, by bisection."""
    cost = _Cost(trace, target)
    low, high = 0.0, LARGEST_RATIO
    found = allocate(trace, replace(options, ratio=low), ranking)
    if cost.of(found) <= cost.limit:
        return found
    found = allocate(trace, replace(options, ratio=high), ranking)
    if cost.of(found) > cost.limit:
        raise cost.out_of_reach(cost.of(found))
    while high - low > PRECISION:
        middle = (low + high) / 2
        attempt = allocate(trace, replace(options, ratio=middle), ranking)
        if cost.of(attempt) <= cost.limit:
            found, high = attempt, middle
        else:
            low = middle
    return found


def _by_error(
    trace: Trace, options: Options, batches: Batches, target: Target | None, threads: int, progress: Steps | None
) -> Selection:
    """Groups compete by the error that a refit leaves."""
    ranking, removals = _judged(trace, options, batches, threads, progress)
    entries = ranking.entries
    if target is not None and options.scope == "local":
        masks = _to_target(trace, options, ranking, target).keep
    else:
        counts = _least_error(trace, ranking, removals, options.ratio, target)
        masks = tuple(keep_mask(e, e.size - k) for e, k in zip(entries, counts, strict=True))
    if family(options.criterion) == CONSUMERS:
        gone = reselect(
            trace,
            ranking.groups,
            removals,
            [int((~mask).sum()) for mask in masks],
            batches,
            criterion=options.criterion,
            threads=threads,
            progress=progress,
        )
        masks = tuple(_without(e.size, units) for e, units in zip(entries, gone, strict=True))
    reasons = dict(ranking.reasons)
    keep = even_blocks(trace, ranking.groups, list(masks), reasons)
    for group, mask in zip(ranking.groups, keep, strict=True):
        if mask.all():
            reasons.setdefault(group.name, "its removal would cost more than it saves")
    return Selection(tuple(ranking.groups), tuple(keep), reasons)


def _judged(
    trace: Trace, options: Options, batches: Batches, threads: int, progress: Steps | None
) -> tuple[Ranking, list[Removal]]:
    """Removal curves of all groups that something reads, and these groups ranked in the order of the curves."""
    if family(options.criterion) == CONSUMERS:
        reasons = selected(trace, options)
        groups = [g for g in trace.prunable if g.name not in reasons]
        judge = by_criterion(groups, options.criterion)
    else:
        ranking = _ranked(trace, options, batches, threads, progress)
        groups, reasons = ranking.groups, dict(ranking.reasons)
        judge = by_order([removal_order(e) for e in ranking.entries])
    removals = judged_curves(trace, groups, judge, batches, threads=threads, progress=progress)
    reasons.update((g.name, NO_READER) for g, r in zip(groups, removals, strict=True) if r is None)
    pairs = [(g, r) for g, r in zip(groups, removals, strict=True) if r is not None]
    entries = [entry(g, r.scores(), options) for g, r in pairs]
    return Ranking([g for g, _ in pairs], entries, reasons), [r for _, r in pairs]


def _least_error(
    trace: Trace, ranking: Ranking, removals: Sequence[Removal], ratio: float, target: Target | None
) -> list[int]:
    """How many units each group loses: at least cost for the target, or the share `ratio` of all units together."""
    entries = ranking.entries
    curves = [
        Curve(e.name, r.errors, np.unique(e.size - np.array([e.size, *widths(e)], np.int64)))
        for e, r in zip(entries, removals, strict=True)
    ]
    most = [int(c.allowed.max()) for c in curves]
    if target is None:
        units = sum(e.size for e in entries)
        left = float(units - math.floor(ratio * units + 1e-9))
        found = by_cost(curves, lambda counts: float(units - sum(counts)), left)
        return most if found is None else found
    cost = _Cost(trace, target)
    found = by_cost(curves, lambda counts: cost.removing(ranking, counts), cost.limit)
    if found is None:
        raise cost.out_of_reach(cost.removing(ranking, most))
    return found


class _Cost:
    """What a choice would cost in the unit of a target."""

    def __init__(self, trace: Trace, target: Target) -> None:
        self._everything = np.ones(trace.unit_count, bool)
        planned = PlannedCost(trace)
        self._measure = planned.macs if target.kind == "macs" else planned.parameters
        self.limit = target.limit(self._measure(self._everything))
        self._kind = target.kind

    def of(self, selection: Selection) -> float:
        keep = self._everything.copy()
        for group, mask in zip(selection.groups, selection.keep, strict=True):
            keep[group.units] = mask
        return float(self._measure(keep))

    def removing(self, ranking: Ranking, counts: Sequence[int]) -> float:
        keep = self._everything.copy()
        for group, one, count in zip(ranking.groups, ranking.entries, counts, strict=True):
            keep[group.units] = keep_mask(one, one.size - count)
        return float(self._measure(keep))

    def out_of_reach(self, least: float) -> UsageError:
        return UsageError(
            f"the target {self._kind} <= {self.limit:.4g} is out of reach: removing all that may go leaves {least:.4g}",
            hint="Raise the target, or lower --min-keep or --multiple-of.",
        )


def _without(size: int, gone: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.ones(size, bool)
    mask[gone] = False
    return mask
