"""What the symbols of a weight stand for: a codebook of shared values, or a scale for every channel."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import ModelError
from onnxprune.packing.layout import Table

Bytes = NDArray[np.uint8]
Weights = NDArray[np.float32]


class Coder(Protocol):
    """`zero` is the symbol of zero, None if there is none; `table` and `numbers` are what is stored of the coder."""

    zero: int | None
    table: Table
    numbers: Weights

    def symbols(self, part: Weights, start: int) -> Bytes:
        """The symbols of the weights from element `start` on."""

    def values(self, symbols: Bytes, start: int) -> Weights:
        """The weights that symbols stand for. Raises ModelError for a symbol that there is not."""


class Codebook:
    """At most 256 shared values, increasing (`exact`: by their bit patterns, and every weight is among them)."""

    def __init__(self, numbers: Weights, *, exact: bool = False) -> None:
        self.numbers, self.table = numbers, Table(len(numbers))
        found = np.flatnonzero(numbers.view(np.uint32) == 0)
        self.zero = int(found[0]) if len(found) else None
        self._exact = exact
        wide = numbers.astype(np.float64)
        self._middles = np.zeros(0) if exact else (wide[1:] + wide[:-1]) / 2

    def symbols(self, part: Weights, start: int) -> Bytes:
        if self._exact:
            return np.searchsorted(self.numbers.view(np.uint32), part.view(np.uint32)).astype(np.uint8)
        return np.searchsorted(self._middles, part).astype(np.uint8)

    def values(self, symbols: Bytes, start: int) -> Weights:
        if symbols.size and int(symbols.max()) >= len(self.numbers):
            raise ModelError("an index of a shared value is beyond its codebook")
        return self.numbers[symbols]


class Scales:
    """Signed bytes times the scale of their channel."""

    def __init__(self, numbers: Weights, inner: int) -> None:
        self.zero: int | None = 0
        self.numbers, self.table = numbers, Table(len(numbers), inner)

    def symbols(self, part: Weights, start: int) -> Bytes:
        scales = self._of(part.size, start)
        steps = np.divide(part, scales, out=np.zeros_like(part), where=scales > 0)
        return np.clip(np.rint(steps), -127, 127).astype(np.int8).view(np.uint8)

    def values(self, symbols: Bytes, start: int) -> Weights:
        with np.errstate(all="ignore"):  # a hostile file may scale to infinity
            return symbols.view(np.int8).astype(np.float32) * self._of(symbols.size, start)

    def _of(self, count: int, start: int) -> Weights:
        return self.numbers[np.arange(start, start + count) // self.table.inner % self.table.entries]


def coder(table: Table, numbers: Weights) -> Coder:
    """The coder that was stored, for reading."""
    return Scales(numbers, table.inner) if table.inner else Codebook(numbers, exact=True)
