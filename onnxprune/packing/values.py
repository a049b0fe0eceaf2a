"""What the numbers of a weight are like, found by passes over parts of it: no weight is in memory as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.packing.clusters import Points

Weights = NDArray[np.float32]
Parts = Callable[[], Iterator[Weights]]

MOST_SHARED = 256
BINS = 1024
_SAMPLE = 1 << 20


@dataclass(frozen=True)
class Values:
    """count: of all; zeros: among them; low, high: extremes; distinct: all bit patterns, increasing, if few."""

    count: int
    zeros: int
    finite: bool
    low: float
    high: float
    distinct: NDArray[np.uint32] | None


def describe(parts: Parts) -> Values:
    """One pass over a weight."""
    count = zeros = 0
    finite, low, high = True, np.inf, -np.inf
    distinct: NDArray[np.uint32] | None = np.zeros(0, np.uint32)
    for part in parts():
        count += part.size
        zeros += part.size - int(np.count_nonzero(part))
        if not np.isfinite(part).all():
            finite = False
        elif part.size:
            low, high = min(low, float(part.min())), max(high, float(part.max()))
        distinct = _distinct(distinct, part.view(np.uint32))
    return Values(count, zeros, finite, low, high, distinct)


def points(parts: Parts, values: Values) -> Points:
    """The weights that are not zero as a few thousand points: the means of what falls between edges.

    Half of the edges hold equally many weights, half are at equal distances: both the many small weights and the few
    large ones are told apart. `values` describes the same parts, finite, not all zero.
    """
    stride = max(1, values.count // _SAMPLE)
    sample = np.sort(np.concatenate([part[::stride][part[::stride] != 0] for part in parts()]))
    quantiles = sample[np.linspace(0, len(sample) - 1, BINS // 2).astype(np.int64)] if len(sample) else sample
    even = np.linspace(values.low, values.high, BINS // 2, dtype=np.float64).astype(np.float32)
    edges = np.unique(np.concatenate([quantiles, even]))
    count, total, square = (np.zeros(len(edges) + 1) for _ in range(3))
    for part in parts():
        kept = part[part != 0].astype(np.float64)
        where = np.searchsorted(edges, kept, side="right")
        count += np.bincount(where, minlength=len(count))
        total += np.bincount(where, kept, len(count))
        square += np.bincount(where, kept**2, len(count))
    there = count > 0
    means = total[there] / count[there]
    within = float((square[there] - count[there] * means**2).sum())
    return Points(means, count[there], max(within, 0.0))


def _distinct(known: NDArray[np.uint32] | None, part: NDArray[np.uint32]) -> NDArray[np.uint32] | None:
    """All bit patterns so far; None once they are too many."""
    for start, stop in ((0, 1 << 12), (1 << 12, part.size)):  # most weights have too many among the first already
        if known is None:
            return None
        known = np.union1d(known, part[start:stop])
        if len(known) > MOST_SHARED:
            known = None
    return known
