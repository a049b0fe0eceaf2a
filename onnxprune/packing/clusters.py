"""k-means in one dimension, of weighted points: the best centres by dynamic programming, or Lloyd's from linear ones.

Clusters of the best partition are runs of sorted points, so the least cost of the first j points in k clusters is

    D_k[j] = min over i < j of D_{k-1}[i] + cost(i, j)

(Wang and Song, Ckmeans.1d.dp, The R Journal 3, 2011). The cost obeys the quadrangle inequality, so the best i grows
with j: every 512th j first, then every 64th between the bounds that those give, .. a level at once. One run gives
the costs for every number of clusters up to `most`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ROUNDS = 300
_ARITY = 8


@dataclass(frozen=True)
class Points:
    """Sorted values with weights. `within`: sum of squares that the points stand for beyond their own."""

    values: Floats
    weights: Floats
    within: float = 0.0


class Partition:
    """The best partitions of points into at most 1, 2, .. `most` runs."""

    def __init__(self, points: Points, most: int) -> None:
        self._shift = float(np.average(points.values, weights=points.weights))
        values = points.values - self._shift  # sums of squares keep their digits
        self._count = _before(points.weights)
        self._sum = _before(points.weights * values)
        self._square = _before(points.weights * values**2)
        size = len(values)
        most = min(most, size)
        self._levels = list(_levels(size))
        self._starts = np.zeros((most + 1, size + 1), np.int32)
        least = np.zeros(size + 1)
        least[1:] = self._square[1:] - self._sum[1:] ** 2 / self._count[1:]
        self.costs = [float("inf"), float(least[-1]) + points.within]
        """costs[k]: sum of squared distances with at most k clusters."""
        for k in range(2, most + 1):
            least, self._starts[k] = self._next(least)
            self.costs.append(max(float(least[-1]), 0.0) + points.within)

    def centres(self, count: int) -> Floats:
        """The means of the best `count` clusters (fewer, if there are not so many points), increasing."""
        end = len(self._count) - 1
        cuts = [end]
        for k in range(min(count, len(self.costs) - 1), 1, -1):
            cuts.append(int(self._starts[k][cuts[-1]]))
        edges = np.unique([0, *cuts])
        means: Floats = np.diff(self._sum[edges]) / np.diff(self._count[edges]) + self._shift
        return means

    def _next(self, before: Floats) -> tuple[Floats, NDArray[np.int64]]:
        """D_k and its best i, from D_{k-1}."""
        size = len(before) - 1
        offset = before - self._square
        least = np.zeros(size + 1)
        best = np.full(size + 2, size)
        best[0] = 0
        for ends, below, above in self._levels:
            low = best[below]
            high = np.minimum(best[above], ends - 1)
            lengths = high - low + 1
            starts = np.cumsum(lengths) - lengths
            i = np.arange(lengths.sum()) - np.repeat(starts - low, lengths)
            j = np.repeat(ends, lengths)
            cost = offset[i] - (self._sum[j] - self._sum[i]) ** 2 / (self._count[j] - self._count[i])
            found = np.minimum.reduceat(cost, starts)
            equal = np.flatnonzero(cost == np.repeat(found, lengths))
            best[ends] = i[equal[np.searchsorted(equal, starts)]]
            least[ends] = found + self._square[ends]
        return least, best[: size + 1]


def linear(points: Points, count: int) -> Floats:
    """Lloyd's algorithm from centres at equal distances between the extremes, as in Deep Compression (Han et al.,
    ICLR 2016); clusters that stay empty keep their centres.
    """
    centres = np.linspace(points.values[0], points.values[-1], count)
    for _ in range(ROUNDS):
        member = nearest(centres, points.values)
        weight = np.bincount(member, points.weights, count)
        total = np.bincount(member, points.weights * points.values, count)
        moved = np.where(weight > 0, total / np.maximum(weight, 1e-300), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return centres


def nearest(centres: Floats, values: NDArray[np.floating]) -> NDArray[np.int64]:
    """The index of the nearest of the increasing centres, for every value; the lower one of two as near."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def _before(values: Floats) -> Floats:
    """Sums of the first 0, 1, .., n values."""
    return np.concatenate([[0.0], np.cumsum(values)])


def _levels(size: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]]:
    """1 .. size as the levels of a tree: (numbers, the nearest done before below, and above: size + 1 if none)."""
    step = 1
    while step * _ARITY <= size:
        step *= _ARITY
    levels = []
    above = _ARITY * step  # all multiples of it are done: none yet
    while step:
        numbers = np.arange(step, size + 1, step)
        numbers = numbers[numbers % above != 0]
        below = numbers // above * above
        levels.append((numbers, below, np.minimum(below + above, size + 1)))
        step, above = step // _ARITY, step
    return levels
