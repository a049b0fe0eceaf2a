"""From outcomes, scores and times to the points of a result, with their place on the frontiers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxprune.benching.results import Estimate
from onnxprune.benching.statistics import MARGIN
from onnxprune.results import ModelSummary
from onnxprune.sweeping.frontier import Candidate, dominated
from onnxprune.sweeping.results import (
    AGREEMENT,
    COSTS,
    ERROR,
    FINISHED,
    LATENCY,
    MACS,
    METRIC,
    ORIGINAL,
    SIZE,
    SweptPoint,
)


def quality_of(points: Sequence[SweptPoint]) -> str | None:
    """What says how good the points are: the metric, or the agreement, or the error; None if nothing does."""
    done = [point for point in points if point.outcome.status == FINISHED]
    for kind in (METRIC, AGREEMENT, ERROR):
        if any(value_of(point, kind) is not None for point in done):
            return kind
    return None


def value_of(point: SweptPoint, quality: str | None) -> float | None:
    """The quality of a point, in its own unit."""
    agreement = point.outcome.agreement
    known = {
        METRIC: point.metric,
        AGREEMENT: None if agreement is None else agreement.share,
        ERROR: point.outcome.error,
    }
    return None if quality is None else known[quality]


def cost_of(point: SweptPoint, cost: str) -> Estimate | None:
    """Latency as the time by that of the original, with its interval; size in bytes, MACs as their number: exact."""
    model = point.outcome.model
    if cost == LATENCY:
        return None if point.latency is None else point.latency.against.ratio
    return None if model is None else _exact(model.size_bytes if cost == SIZE else model.macs)


def _exact(value: float) -> Estimate:
    return Estimate(float(value), float(value), float(value))


def placed(
    points: Sequence[SweptPoint], original: ModelSummary, quality: str | None, before: float | None
) -> tuple[SweptPoint, ...]:
    """The points with what dominates them, by each cost. The original, of metric `before`, is one of them."""
    if quality is None:
        return tuple(points)
    sign = -1.0 if quality == ERROR else 1.0
    best = {METRIC: before, AGREEMENT: 1.0, ERROR: 0.0}[quality]
    costs = {LATENCY: _exact(1), SIZE: _exact(original.size_bytes), MACS: _exact(original.macs)}
    by_cost: dict[str, Mapping[str, str | None]] = {}
    for cost in COSTS:
        margin = MARGIN if cost == LATENCY else 0.0
        found = {} if best is None else {ORIGINAL: _candidate(sign * best, costs[cost], margin)}
        for point in points:
            value, price = value_of(point, quality), cost_of(point, cost)
            if point.outcome.status == FINISHED and value is not None and price is not None:
                found[point.point.name] = _candidate(sign * value, price, margin)
        by_cost[cost] = dominated(found)
    return tuple(_placed(point, by_cost) for point in points)


def _candidate(quality: float, cost: Estimate, margin: float) -> Candidate:
    """Costs that differ by less than the share `margin` are not told apart, however narrow their intervals are."""
    half = math.sqrt(1 + margin)
    return Candidate(quality, cost.value, min(cost.low, cost.value / half), max(cost.high, cost.value * half))


def _placed(point: SweptPoint, by_cost: Mapping[str, Mapping[str, str | None]]) -> SweptPoint:
    found = {cost: names[point.point.name] for cost, names in by_cost.items() if point.point.name in names}
    return replace(
        point,
        frontier=tuple(cost for cost, name in found.items() if name is None),
        dominated={cost: name for cost, name in found.items() if name is not None},
    )
