"""Choosing with calibration data: removal curves by a consumer criterion, counts by the least error per cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.allocate import GroupScores, parse_min_keep, widths
from onnxprune.allocate.by_cost import Curve, by_cost
from onnxprune.allocate.groups import check_ratio
from onnxprune.capture.walker import Array
from onnxprune.choose import Options, Selection, even_blocks, selected
from onnxprune.curves import removal_curves
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import UsageError
from onnxprune.reselect import reselect
from onnxprune.score.consumers import Removal
from onnxprune.target import Target
from onnxprune.trace.groups import Group, Trace

NO_READER = "no layer with a plain weight reads it, so nothing could make up for it"


def choose_calibrated(
    trace: Trace,
    options: Options,
    batches: list[dict[str, Array]],
    target: Target | None,
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Selection:
    """Without a target every group loses the share `options.ratio`; with one, the counts that cost the least error."""
    check_ratio(options.ratio)
    reasons = selected(trace, options)
    groups = [g for g in trace.prunable if g.name not in reasons]
    removals = removal_curves(trace, groups, batches, criterion=options.criterion, threads=threads, progress=progress)
    for group, removal in zip(groups, removals, strict=True):
        if removal is None:
            reasons[group.name] = NO_READER
    pairs = [(g, r) for g, r in zip(groups, removals, strict=True) if r is not None]
    groups = [g for g, _ in pairs]
    curves = [_curve(g, r, options) for g, r in pairs]
    if target is None:
        counts = [_nearest(c, options.ratio * (len(c.errors) - 1)) for c in curves]
    else:
        counts = _meet(trace, pairs, curves, target)
    gone = reselect(
        trace,
        groups,
        [r for _, r in pairs],
        counts,
        batches,
        criterion=options.criterion,
        threads=threads,
        progress=progress,
    )
    keep = [_mask(g, units) for g, units in zip(groups, gone, strict=True)]
    keep = even_blocks(trace, groups, keep, reasons)
    for group, mask in zip(groups, keep, strict=True):
        if mask.all():
            reasons.setdefault(group.name, "its removal would cost more than it saves")
    return Selection(tuple(groups), tuple(keep), reasons)


def _curve(group: Group, removal: Removal, options: Options) -> Curve:
    floor = parse_min_keep(options.min_keep, group.size)
    entry = GroupScores(
        group.name, np.zeros(group.size), min_keep=floor, multiple_of=options.multiple_of, blocks=group.blocks
    )
    allowed = group.size - np.array(sorted(widths(entry), reverse=True), np.int64)
    return Curve(group.name, removal.errors, np.unique(np.append(allowed, 0)))


def _nearest(curve: Curve, wanted: float) -> int:
    """The largest allowed number of removals that does not exceed the wanted one."""
    return int(curve.allowed[curve.allowed <= wanted + 1e-9].max())


def _mask(group: Group, gone: NDArray[np.int64]) -> NDArray[np.bool_]:
    mask = np.ones(group.size, bool)
    mask[gone] = False
    return mask


def _meet(trace: Trace, pairs: Sequence[tuple[Group, Removal]], curves: Sequence[Curve], target: Target) -> list[int]:
    cost = PlannedCost(trace)
    everything = np.ones(trace.unit_count, bool)
    measure = cost.macs if target.kind == "macs" else cost.parameters

    def of(counts: Sequence[int]) -> float:
        keep = everything.copy()
        for (group, removal), count in zip(pairs, counts, strict=True):
            keep[group.units[removal.order[:count]]] = False
        return float(measure(keep))

    limit = target.limit(measure(everything))
    counts = by_cost(curves, of, limit)
    if counts is None:
        least = of([int(c.allowed.max()) for c in curves])
        raise UsageError(
            f"the target {target.kind} <= {limit:.4g} is out of reach: removing all that may go leaves {least:.4g}",
            hint="Raise the target, or lower --min-keep or --multiple-of.",
        )
    return counts
