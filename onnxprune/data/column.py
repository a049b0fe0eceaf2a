"""The rows of one input: arrays in memory or mapped, of one item shape or of several."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.convert import Convert, Misfit
from onnxprune.errors import DataError

Shape = tuple[int, ...]
Positions = NDArray[np.intp]


class Column(Protocol):
    """Rows of one input, in the model's type and layout."""

    rows: int

    def shapes(self) -> set[Shape]:
        """All item shapes (without the row axis) that occur."""

    def shape(self, row: int) -> Shape:
        """The item shape of one row."""

    def label(self, row: int) -> str:
        """How a message names the row: a file, or its number."""

    def read(self, rows: Positions) -> NDArray[Any]:
        """(len(rows), *item). Raises DataError if the item shapes differ or a value does not fit the type."""


class Rows:
    """Runs of arrays (rows, *item) with a conversion each. `labels`: (first row, name), ascending."""

    def __init__(
        self, runs: Sequence[tuple[NDArray[Any], Convert]], labels: Sequence[tuple[int, str]] = (), name: str = ""
    ) -> None:
        self._runs, self._labels, self._name = runs, labels, name
        self._starts = [0, *np.cumsum([len(array) for array, _ in runs]).tolist()]
        self._label_starts = [first for first, _ in labels]
        self.rows = int(self._starts[-1])
        self._shapes = {array.shape[1:] for array, _ in runs}

    def shapes(self) -> set[Shape]:
        return self._shapes

    def shape(self, row: int) -> Shape:
        return self._runs[self._run(row)][0].shape[1:]

    def label(self, row: int) -> str:
        if not self._labels:
            return f"{self._name}, row {row}" if self._name else f"row {row}"
        return self._labels[bisect_right(self._label_starts, row) - 1][1]

    def read(self, rows: Positions) -> NDArray[Any]:
        runs = np.searchsorted(self._starts, rows, side="right") - 1
        used = np.unique(runs)
        parts = [(runs == run, self._part(int(run), rows[runs == run])) for run in used]
        if len(parts) == 1:
            return np.require(parts[0][1], requirements=["C", "A"])
        shape = parts[0][1].shape[1:]
        if any(part.shape[1:] != shape for _, part in parts):
            raise DataError(f"samples of different sizes cannot share a batch: {sorted(self.shapes())[:4]}")
        result = np.empty((len(rows), *shape), parts[0][1].dtype)
        for mask, part in parts:
            result[mask] = part
        return result

    def _run(self, row: int) -> int:
        return bisect_right(self._starts, row) - 1

    def _part(self, run: int, rows: Positions) -> NDArray[Any]:
        array, convert = self._runs[run]
        local = rows - self._starts[run]
        consecutive = bool((np.diff(local) == 1).all())
        part = array[local[0] : local[-1] + 1] if consecutive else array[local]
        try:
            return convert(part)
        except Misfit as misfit:
            raise DataError(f"{self.label(int(rows[misfit.row]))}: {misfit.message}") from None
