"""How many units each group loses, at the least error: to a target, with the steps that kernels like, or finer ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.allocate import GroupScores, widths
from onnxprune.choose.allocate.by_cost import Curve as Costs
from onnxprune.choose.allocate.by_cost import by_cost
from onnxprune.choose.allocate.groups import removed_count
from onnxprune.choose.allocate.widths import keep_mask, removal_order
from onnxprune.choose.budget import Budget, OutOfReach
from onnxprune.choose.ranking import Options, Ranking, Selection, even_blocks, narrower, notes_of
from onnxprune.choose.score.registry import FloatArray
from onnxprune.trace.groups import Group, Trace

FINER = 1.25


@dataclass(frozen=True)
class Priced:
    """A choice, and the error that it was made by (0 if by none)."""

    selection: Selection
    error: float = 0.0


def with_finer(ranking: Ranking, options: Options, choose: Callable[[Ranking], Priced]) -> Selection:
    """The least error of `choose` with the steps of the device; or with finer ones where those leave too much, or lose
    FINER times as much. Raises OutOfReach if all leave too much.
    """
    best: Priced | None = None
    while True:
        last = narrower(ranking, options)
        try:
            found = choose(ranking)
        except OutOfReach:
            if last is None:
                if best is None:
                    raise
                return best.selection
        else:
            found = replace(found, selection=replace(found.selection, notes=notes_of(ranking, options)))
            if best is not None:
                return found.selection if FINER * found.error < best.error else best.selection
            best = found
            if last is None or not found.error:
                return best.selection
        ranking = last


def least_error(
    trace: Trace,
    ranking: Ranking,
    errors: Sequence[FloatArray],
    options: Options,
    budget: Budget | None,
    instead: str,
) -> Selection:
    """The units of each group that leave: at least cost for the target, or a share of all units together.

    Raises OutOfReach, with `instead` as what to try first.
    """
    if budget is None:
        return _least_by_share(ranking, errors, options)

    def keep_of(found: Selection) -> NDArray[np.bool_]:
        return keep_masks(trace, ranking.groups, even_blocks(trace, ranking.groups, list(found.keep), {}))

    def within(limit: float) -> Selection:
        return with_finer(ranking, options, lambda r: _least_by_cost(trace, r, errors, budget, limit, instead))

    return budget.settle(within, keep_of)


def _least_by_share(ranking: Ranking, errors: Sequence[FloatArray], options: Options) -> Selection:
    entries = ranking.entries
    units, whole = sum(e.size for e in entries), sum(e.whole for e in entries)
    left = float(whole - removed_count(options.ratio, whole))
    curves = _priced(entries, errors)
    counts = by_cost(curves, lambda counts: float(units - sum(counts)), left)
    if counts is None:
        again = narrower(ranking, options)
        if again is not None:
            return _least_by_share(again, errors, options)
        counts = [int(c.allowed.max()) for c in curves]
    masks = tuple(keep_mask(e, e.size - k) for e, k in zip(entries, counts, strict=True))
    return Selection(tuple(ranking.groups), masks, {}, notes=notes_of(ranking, options))


def _priced(entries: Sequence[GroupScores], errors: Sequence[FloatArray]) -> list[Costs]:
    return [
        Costs(e.name, error, np.unique(e.size - np.array([e.size, *widths(e)], np.int64)))
        for e, error in zip(entries, errors, strict=True)
    ]


def _least_by_cost(
    trace: Trace, ranking: Ranking, errors: Sequence[FloatArray], budget: Budget, limit: float, instead: str
) -> Priced:
    """Raises OutOfReach."""
    curves = _priced(ranking.entries, errors)
    orders = [group.units[removal_order(e)] for group, e in zip(ranking.groups, ranking.entries, strict=True)]

    def left(counts: Sequence[int]) -> NDArray[np.bool_]:
        mask = np.ones(trace.unit_count, bool)
        for order, count in zip(orders, counts, strict=True):
            mask[order[:count]] = False
        return mask

    def cost(counts: Sequence[int]) -> float:
        return budget.cost(left(counts))

    def worth(counts: Sequence[int]) -> float:
        found = budget.worth(left(counts))
        assert found is not None
        return found

    elsewhere = budget.worth(np.ones(trace.unit_count, bool)) is not None
    spent = worth if elsewhere else None
    counts = by_cost(curves, cost, limit, stepped=budget.stepped, worth=spent, ceiling=budget.ceiling)
    if counts is None:
        raise OutOfReach(budget, cost([int(c.allowed.max()) for c in curves]), instead)
    masks = tuple(keep_mask(e, e.size - k) for e, k in zip(ranking.entries, counts, strict=True))
    lost = sum(float(c.errors[k]) for c, k in zip(curves, counts, strict=True))
    return Priced(Selection(tuple(ranking.groups), masks, {}), lost)


def keep_masks(trace: Trace, groups: Sequence[Group], masks: Sequence[NDArray[np.bool_]]) -> NDArray[np.bool_]:
    """The masks of the groups over all units, (unit_count,)."""
    keep = np.ones(trace.unit_count, bool)
    for group, mask in zip(groups, masks, strict=True):
        keep[group.units] = mask
    return keep
