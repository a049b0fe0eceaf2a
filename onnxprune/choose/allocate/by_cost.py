"""How many units each group loses, so that a cost target is met at the least error.

Groups come with removal curves e_g(k): the (relative) error after the k cheapest units are gone. Minimising
sum_g e_g(k_g) subject to cost(k) <= target is a knapsack; its Lagrangian splits into one choice per group,

    k_g(price) = argmin_k  e_g(k) - price * c_g * k,

with c_g the cost that one unit of the group is worth. Costs multiply (in times out), so c_g is measured again at the
widths found, a few times; the price is bisected on the true cost. Where the cost goes in steps (time: kernels work on
several channels at once), c_g * k is what k removals save, for every k. And what a removal saves may be another cost
than the one with the limit (`worth`): at most so many multiply-accumulates, spent where they take time.

A price reaches only the corners of the curves' convex hulls, and a hull may have long edges: what the target still
allows after that is given back, where it makes up for most error per cost.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
CostFunction = Callable[[Sequence[int]], float]
Fits = Callable[[Sequence[int]], bool]
ROUNDS, BISECTIONS = 4, 40
REACH, ENOUGH = 0.7, 0.8
MOST_COUNTS = 64  # of a group, whose costs are measured one by one


@dataclass(frozen=True)
class Curve:
    """errors (n+1,): error after k removals; allowed: the numbers of removals that may be chosen, 0 among them."""

    name: str
    errors: FloatArray
    allowed: NDArray[np.int64]


def by_cost(
    curves: Sequence[Curve],
    cost: CostFunction,
    target: float,
    *,
    stepped: bool = False,
    worth: CostFunction | None = None,
    ceiling: float = np.inf,
) -> list[int] | None:
    """Removals per group with cost(removals) <= target, or None if even removing all that is allowed is too little.

    `stepped`: whether the cost goes in steps, and may even rise where a unit leaves. `worth`: what removals are to
    save, if that is not the cost; it goes in steps, and is to come down to `ceiling`, or as near to it as REACH of what
    removing everything saves, or ENOUGH of the target leave.
    """
    most = [int(c.allowed.max()) for c in curves]
    by_step = worth is not None or stepped
    if by_step:
        curves = [_thinned(curve) for curve in curves]
    nothing = [0] * len(curves)
    if cost(nothing) <= target:
        return nothing
    if cost(most) > target:
        return None
    if worth is not None:
        ceiling = max(ceiling, worth(nothing) - REACH * (worth(nothing) - worth(most)))

    def fits(counts: Sequence[int]) -> bool:
        spent = cost(counts)
        return spent <= target and (worth is None or spent <= ENOUGH * target or worth(counts) <= ceiling)

    counts, best = [m // 2 for m in most], most
    if by_step:
        counts = [int(c.allowed[np.abs(c.allowed - k).argmin()]) for c, k in zip(curves, counts, strict=True)]
    best_error = np.inf
    for _ in range(ROUNDS):
        if by_step:
            saved = _saved(curves, worth or cost, counts)
        else:
            each = _worth(curves, cost, counts)
            saved = [c * curve.allowed.astype(np.float64) for curve, c in zip(curves, each.tolist(), strict=True)]
        counts = _bisect(curves, saved, fits, most)
        if not stepped:
            counts = _filled(curves, counts, worth or cost, fits)
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


def _thinned(curve: Curve) -> Curve:
    """At most about MOST_COUNTS removals, those that leave rounder numbers."""
    n, unit = len(curve.errors) - 1, 1
    while len(found := curve.allowed[((n - curve.allowed) % unit == 0) | (curve.allowed == 0)]) > MOST_COUNTS:
        unit *= 2
    return replace(curve, allowed=np.union1d(found, curve.allowed[-1:]))


def _saved(curves: Sequence[Curve], cost: CostFunction, counts: list[int]) -> list[FloatArray]:
    """What every allowed number of removals of a group saves, the others as in `counts`."""
    result = []
    for g, curve in enumerate(curves):
        costs = np.array([cost([*counts[:g], int(k), *counts[g + 1 :]]) for k in curve.allowed])
        result.append(costs[0] - costs)
    return result


def _bisect(curves: Sequence[Curve], saved: Sequence[FloatArray], fits: Fits, most: list[int]) -> list[int]:
    low, high = 1e-30, 1e6
    best = most
    for _ in range(BISECTIONS * 2):
        price = float(np.sqrt(low * high))
        counts = [_cheapest(curve, price * s) for curve, s in zip(curves, saved, strict=True)]
        if fits(counts):
            best, high = counts, price
        else:
            low = price
        if high / low < 1.0001:
            break
    return best


def _filled(curves: Sequence[Curve], counts: list[int], spent: CostFunction, fits: Fits) -> list[int]:
    """`counts` with removals taken back as long as one fits that makes the error less: that which makes up for most of
    it for what is `spent`.

    What steps cost changes little as others are taken: the best one known is measured again, and taken if it still is
    the best. One that does not fit never will.
    """
    counts = list(counts)
    here = spent(counts)

    def step(group: int, count: int) -> tuple[float, int, int]:
        gain = float(curves[group].errors[counts[group]] - curves[group].errors[count])
        return -gain / max(spent(_with(counts, group, count)) - here, 1e-9 * abs(here)), group, count

    def steps(group: int) -> list[tuple[float, int, int]]:
        curve = curves[group]
        fewer = curve.allowed[curve.allowed < counts[group]][::-1].tolist()
        fitting = itertools.takewhile(lambda k: fits(_with(counts, group, k)), fewer)
        return [step(group, k) for k in fitting if curve.errors[k] < curve.errors[counts[group]]]

    waiting = [one for group in range(len(curves)) for one in steps(group)]
    heapq.heapify(waiting)
    while waiting:
        _, group, count = heapq.heappop(waiting)
        if count >= counts[group] or not fits(_with(counts, group, count)):
            continue
        now = step(group, count)
        if waiting and now > waiting[0]:
            heapq.heappush(waiting, now)
            continue
        counts[group] = count
        here = spent(counts)
        for one in steps(group):
            heapq.heappush(waiting, one)
    return counts


def _with(counts: Sequence[int], group: int, count: int) -> list[int]:
    return [*counts[:group], count, *counts[group + 1 :]]


def _cheapest(curve: Curve, gain: FloatArray) -> int:
    value = curve.errors[curve.allowed] - gain
    return int(curve.allowed[int(np.argmin(value))])
