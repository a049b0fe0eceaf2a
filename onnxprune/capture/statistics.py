"""What is kept of one activation while it streams by: numbers per channel, float64, never the samples themselves.

A statistic is made for a number of channels and takes maps (samples, channels, height, width), batch after batch.
"""

from __future__ import annotations

from typing import Any, Protocol

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
FloatArray = NDArray[np.float64]
OVER = (0, 2, 3)
"""Every axis but the channels."""


class Statistic(Protocol):
    """Anything that a criterion wants to know of an activation."""

    def add(self, maps: Array) -> None:
        """Take in (samples, channels, height, width), all finite."""


class Zeros:
    """How many values of a channel are exactly zero: `zeros` (channels,) of `count`."""

    def __init__(self, channels: int) -> None:
        self.zeros = np.zeros(channels)
        self.count = 0

    def add(self, maps: Array) -> None:
        self.zeros += (maps == 0).sum(axis=OVER)
        self.count += maps[:, :1].size


class Sizes:
    """Sum of the absolute values of a channel: `total` (channels,) over `count` of them."""

    def __init__(self, channels: int) -> None:
        self.total = np.zeros(channels)
        self.count = 0

    def add(self, maps: Array) -> None:
        self.total += np.abs(maps.astype(np.float64)).sum(axis=OVER)
        self.count += maps[:, :1].size


class Deviations:
    """Sums of d and d^2 (channels,), d = h minus the first value of the channel: a constant channel gives exactly 0."""

    def __init__(self, channels: int) -> None:
        self.total = np.zeros(channels)
        self.square = np.zeros(channels)
        self.count = 0
        self._first: FloatArray | None = None

    def add(self, maps: Array) -> None:
        wide = maps.astype(np.float64)
        if self._first is None:
            self._first = wide[0, :, 0, 0].copy()
        wide -= self._first[:, None, None]
        self.total += wide.sum(axis=OVER)
        self.square += np.einsum("schw,schw->c", wide, wide)
        self.count += maps[:, :1].size

    def variance(self) -> FloatArray:
        """(channels,), of the values seen (divided by their number)."""
        mean = self.total / max(self.count, 1)
        return np.maximum(self.square / max(self.count, 1) - mean * mean, 0.0)


class Averages:
    """The average of every map: `table()` is (samples, channels)."""

    def __init__(self, channels: int) -> None:
        self._rows: list[FloatArray] = [np.zeros((0, channels))]

    def add(self, maps: Array) -> None:
        self._rows.append(maps.astype(np.float64).mean(axis=(2, 3)))

    def table(self) -> FloatArray:
        return np.concatenate(self._rows)


class Ranks:
    """Sum of the ranks of the maps of a channel: `total` (channels,) over `count` samples.

    A singular value counts if it exceeds the largest one times max(height, width) times the rounding unit of the data.
    A map that is a single row, column or number has rank 1 unless it is zero.
    """

    def __init__(self, channels: int) -> None:
        self.total = np.zeros(channels)
        self.count = 0

    def add(self, maps: Array) -> None:
        self.count += len(maps)
        if 1 in maps.shape[2:]:
            self.total += (maps != 0).any(axis=(2, 3)).sum(axis=0)
            return
        unit = _rounding_unit(maps.dtype)
        kind = np.float64 if maps.dtype == np.float64 else np.float32
        values = np.linalg.svd(maps.astype(kind), compute_uv=False)
        least = values.max(axis=-1, keepdims=True) * (max(maps.shape[2:]) * unit)
        self.total += (values > least).sum(axis=(0, 2))


def _rounding_unit(dtype: np.dtype[Any]) -> float:
    if dtype.kind in "iub":
        dtype = np.dtype(np.float32)
    return float(ml_dtypes.finfo(dtype).eps)  # type: ignore[no-untyped-call]
