"""How many units each group loses, so that a cost target is met at the least error.

Groups come with removal curves e_g(k): the (relative) error after the k cheapest units are gone. Minimising
sum_g e_g(k_g) subject to cost(k) <= target is a knapsack; its Lagrangian splits into one choice per group,

    k_g(price) = argmin_k  e_g(k) - price * c_g * k,

with c_g the cost that one unit of the group is worth. Costs multiply (in times out), so c_g is measured again at the
widths found, a few times; the price is bisected on the true cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CostFunction = Callable[[Sequence[int]], float]
ROUNDS, BISECTIONS = 4, 40


@dataclass(frozen=True)
class Curve:
    """errors (n+1,): error after k removals; allowed: the numbers of removals that may be chosen, 0 among them."""

    name: str
    errors: FloatArray
    allowed: NDArray[np.int64]


def by_cost(curves: Sequence[Curve], cost: CostFunction, target: float) -> list[int] | None:
    """Removals per group with cost(removals) <= target, or None if even removing all that is allowed is too little."""
    most = [int(c.allowed.max()) for c in curves]
    if cost([0] * len(curves)) <= target:
        return [0] * len(curves)
    if cost(most) > target:
        return None
    counts, best = [m // 2 for m in most], most
    best_error = np.inf
    for _ in range(ROUNDS):
        worth = _worth(curves, cost, counts)
        counts = _bisect(curves, worth, cost, target, most)
        error = sum(float(c.errors[k]) for c, k in zip(curves, counts, strict=True))
        if error < best_error:
            best, best_error = counts, error
    return best


def _worth(curves: Sequence[Curve], cost: CostFunction, counts: list[int]) -> FloatArray:
    """Cost saved per unit of each group, around `counts`."""
    here = cost(counts)
    result = np.zeros(len(curves))
    for g, curve in enumerate(curves):
        n = len(curve.errors) - 1
        step = max(1, n // 16)
        other = list(counts)
        other[g] = counts[g] + step if counts[g] + step < n else counts[g] - step
        moved = other[g] - counts[g]
        result[g] = (here - cost(other)) / moved if moved else 0.0
    return np.maximum(result, 0.0)


def _bisect(
    curves: Sequence[Curve], worth: FloatArray, cost: CostFunction, target: float, most: list[int]
) -> list[int]:
    low, high = 1e-30, 1e6
    best = most
    for _ in range(BISECTIONS * 2):
        price = float(np.sqrt(low * high))
        counts = [_cheapest(curve, price * float(c)) for curve, c in zip(curves, worth, strict=True)]
        if cost(counts) <= target:
            best, high = counts, price
        else:
            low = price
        if high / low < 1.0001:
            break
    return best


def _cheapest(curve: Curve, price: float) -> int:
    value = curve.errors[curve.allowed] - price * curve.allowed
    return int(curve.allowed[int(np.argmin(value))])
