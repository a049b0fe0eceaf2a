"""Who dominates whom: pure functions over (quality, cost), quality higher is better, cost lower."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Candidate:
    """`low` and `high` are the interval of a cost that was measured; of one that was counted they are the cost."""

    quality: float
    cost: float
    low: float
    high: float


def dominated(found: Mapping[str, Candidate]) -> dict[str, str | None]:
    """name -> the name of what dominates it, None if it is on the Pareto frontier.

    One dominates another if it is no worse in both, and better in one: costs differ if their intervals do not overlap.
    Named is the one that is itself dominated by none of the others that dominate, the best of these in quality, the
    first of these in order. NaN is dominated by whatever is not.
    """
    result: dict[str, str | None] = {}
    for name, one in found.items():
        better = [(key, other) for key, other in found.items() if dominates(other, one)]
        best = [(key, other) for key, other in better if not any(dominates(third, other) for _, third in better)]
        result[name] = max(best, key=lambda entry: entry[1].quality)[0] if best else None
    return result


def dominates(a: Candidate, b: Candidate) -> bool:
    """Whether nobody who has `a` would want `b`."""
    if math.isnan(a.quality) or math.isnan(a.cost):
        return False
    if math.isnan(b.quality) or math.isnan(b.cost):
        return True
    return a.quality >= b.quality and a.cost <= b.cost and (a.quality > b.quality or a.high < b.low)
