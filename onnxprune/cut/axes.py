"""How much of every axis a choice leaves: axes of the same units are counted once, all of them in one go."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxprune.ops.atoms import IntArray


class Axes:
    """Numbers for axes that may shrink, by their units; `counts` says how many units of each stay."""

    def __init__(self) -> None:
        self._units: list[IntArray] = []
        self._numbers: dict[bytes, int] = {}
        self._joined: tuple[IntArray, IntArray] | None = None

    def number(self, units: IntArray) -> int:
        """The number of the axis whose indices are these units (n,), n > 0."""
        key = units.tobytes()
        if key not in self._numbers:
            self._numbers[key] = len(self._units)
            self._units.append(units)
            self._joined = None
        return self._numbers[key]

    def counts(self, keep: NDArray[np.bool_]) -> list[int]:
        """How much is left of every axis, by its number. `keep` is (unit_count,)."""
        if not self._units:
            return []
        if self._joined is None:
            lengths = [len(units) for units in self._units]
            self._joined = np.concatenate(self._units), np.cumsum([0, *lengths[:-1]])
        units, starts = self._joined
        found: list[int] = np.add.reduceat(keep[units], starts, dtype=np.int64).tolist()
        return found
