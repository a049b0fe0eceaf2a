"""Ranges of activations from histograms that are streamed: no activation is kept.

A histogram has a fixed number of bins over [-B, B], B a power of two times the first largest value; a larger value
doubles B until it fits, and bins are added up in pairs. So the result does not depend on how samples are batched.

The range (a, b) of a value with the distribution p, on a grid of n numbers of step s = (b - a) / (n - 1), costs

    sum over x of p(x) (x - clip(x, a, b))^2 + s^2 / 12 * P(a <= x <= b, x not on the grid),

which `least_error` minimises (Banner et al., NeurIPS 2019; OMSE, Choukroun et al., 2019).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.training import observer
from onnxprune.errors import NotFinite
from onnxprune.model.load import Model
from onnxprune.results.providers import Threads

Array = NDArray[np.float32]
BINS = 4096
TRIED = 48
"""Ends that are tried on each side."""
LEAST = 0.1
"""Of the whole range: the smallest end that is tried."""
PERCENTILE = 99.999


@dataclass
class Histogram:
    """How often values fall into each bin over [-bound, bound]; zeros are counted apart, they are on every grid."""

    bound: float = 0.0
    counts: NDArray[np.int64] = field(default_factory=lambda: np.zeros(BINS, np.int64))
    zeros: int = 0
    low: float = np.inf
    high: float = -np.inf

    def add(self, values: Array) -> None:
        """Raises ValueError for NaN and infinity."""
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("not finite")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._widen(max(abs(low), abs(high)))
        if self.bound == 0.0:
            self.zeros += values.size
            return
        place = np.minimum(((values.ravel() / np.float32(self.bound) + 1) * (BINS / 2)).astype(np.int32), BINS - 1)
        found = np.bincount(np.maximum(place, 0), minlength=BINS)
        empty = int(values.size - np.count_nonzero(values))
        found[BINS // 2] -= empty
        self.zeros += empty
        self.counts += found

    def _widen(self, most: float) -> None:
        if most <= self.bound:
            return
        if self.bound == 0.0:
            self.bound = float(2.0 ** np.ceil(np.log2(max(most, np.finfo(np.float32).tiny))))
            return
        while most > self.bound:
            pairs = self.counts.reshape(-1, 2).sum(axis=1)
            self.counts = np.zeros(BINS, np.int64)
            self.counts[BINS // 4 : 3 * BINS // 4] = pairs
            self.bound *= 2

    @property
    def centers(self) -> NDArray[np.float64]:
        edges = np.linspace(-self.bound, self.bound, BINS + 1)
        return (edges[1:] + edges[:-1]) / 2

    def merged(self, other: Histogram) -> Histogram:
        """Of the values of both."""
        wide = Histogram(max(self.bound, other.bound))
        for one in (self, other):
            copy = Histogram(one.bound, one.counts.copy())
            copy._widen(wide.bound)
            wide.counts = wide.counts + copy.counts
        wide.zeros = self.zeros + other.zeros
        wide.low, wide.high = min(self.low, other.low), max(self.high, other.high)
        return wide


def histograms(
    model: Model, keys: Sequence[str], batches: Iterable[Mapping[str, NDArray[np.generic]]], threads: Threads = 0
) -> dict[str, Histogram]:
    """Of the float32 values `keys` of the model, which may be inputs. Raises NotFinite for NaN and infinity."""
    inputs = {value.name for value in model.proto.graph.input}
    made = [key for key in keys if key not in inputs]
    session = observer(model, made, threads) if made else None
    found = {key: Histogram() for key in keys}
    for batch in batches:
        values = [] if session is None else session.run(None, dict(batch))
        given = [(key, batch[key]) for key in keys if key in inputs]
        for key, value in [*zip(made, values, strict=True), *given]:
            try:
                found[key].add(np.asarray(value, np.float32))
            except ValueError as error:
                raise NotFinite(
                    f"value {key!r} holds NaN or infinity on the samples",
                    hint="the network overflows on the calibration samples: check them, and how they are normalised",
                ) from error
    return found


def min_max(found: Histogram) -> tuple[float, float]:
    """All that was seen, and 0."""
    return min(found.low, 0.0), max(found.high, 0.0)


def percentile(found: Histogram, percent: float = PERCENTILE) -> tuple[float, float]:
    """Without the largest and the smallest values, (100 - percent) / 2 % of all each."""
    low, high = min_max(found)
    counts = found.counts.astype(np.float64)
    counts[BINS // 2] += found.zeros
    share = np.cumsum(counts) / max(counts.sum(), 1)
    tail = (1 - percent / 100) / 2
    first, last = int(np.searchsorted(share, tail, "right")), int(np.searchsorted(share, 1 - tail))
    edges = np.linspace(-found.bound, found.bound, BINS + 1)
    return max(low, min(float(edges[min(first, BINS)]), 0.0)), min(high, max(float(edges[min(last + 1, BINS)]), 0.0))


def least_error(found: Histogram, levels: int = 256) -> tuple[float, float]:
    """The range whose grid of so many `levels` costs least."""
    low, high = min_max(found)
    if low == high:
        return low, high
    used = found.counts > 0
    x, p = found.centers[used], found.counts[used].astype(np.float64)
    x = np.clip(x, low, high)
    below, above = (np.cumsum(part) for part in (p, p * x))
    squares = np.cumsum(p * x * x)

    def until(end: float) -> tuple[float, float, float]:
        """Sums of p, p x, p x^2 over x < end."""
        k = int(np.searchsorted(x, end))
        return (below[k - 1], above[k - 1], squares[k - 1]) if k else (0.0, 0.0, 0.0)

    lows = _ends(low)
    highs = _ends(high)
    total = below[-1], above[-1], squares[-1]
    left = {a: until(a) for a in lows}
    right = {b: until(np.nextafter(b, np.inf)) for b in highs}
    best = (np.inf, low, high)
    for a in lows:
        n, s, q = left[a]
        clipped_low = q - 2 * a * s + a * a * n
        for b in highs:
            if a == b:
                continue
            m, t, r = (whole - part for whole, part in zip(total, right[b], strict=True))
            clipped_high = r - 2 * b * t + b * b * m
            step = (b - a) / (levels - 1)
            cost = clipped_low + clipped_high + step * step / 12 * (total[0] - n - m)
            if cost < best[0]:
                best = (cost, a, b)
    return best[1], best[2]


def _ends(end: float) -> list[float]:
    return [0.0] if end == 0.0 else [float(end * share) for share in np.geomspace(LEAST, 1.0, TRIED)[::-1]]
