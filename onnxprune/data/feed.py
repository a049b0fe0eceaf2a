"""One input of the calibration data: its rows, and which of them make up a sample."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.column import Column, Positions, Shape
from onnxprune.data.specs import InputSpec


@dataclass(frozen=True)
class Feed:
    """One input and its rows: what lies along the axis that counts samples, moved to the front.

    `shared`: the same rows, all of them, belong to every sample. `calls`: where each sample starts, and the end of the
    last one, if samples are whole calls of the model, which may differ in their number of rows.
    """

    spec: InputSpec
    column: Column
    shared: bool = False
    calls: Positions | None = None

    @property
    def samples(self) -> int:
        return self.column.rows // self.spec.group if self.calls is None else len(self.calls) - 1

    @property
    def axis(self) -> int | None:
        """Of a batch, where its samples lie; None if it belongs to the batch as a whole."""
        return self.spec.axis if self.spec.batched and not self.shared and self.calls is None else None

    @property
    def bound(self) -> bool:
        """Whether the model takes one sample at a time because of this input."""
        if self.shared:
            return bool(self.spec.shape) and not self.spec.batched
        return self.axis is None

    def rows(self, samples: Positions) -> Positions:
        """The rows that the given samples fill."""
        if self.shared:
            return np.arange(self.column.rows)
        if self.calls is not None:
            spans = [np.arange(self.calls[sample], self.calls[sample + 1]) for sample in samples]
            return np.asarray(np.concatenate(spans), np.intp)
        group = self.spec.group
        return np.asarray((samples[:, None] * group + np.arange(group)).ravel(), np.intp)

    def shape(self, sample: int) -> Shape:
        """The shape of a feed with one sample."""
        if not self.spec.shape:
            return ()
        rows = self.rows(np.array([sample], np.intp))
        item = self.column.shape(int(rows[0]))  # the rows of a sample have the same (check.py)
        return (*item[: self.spec.axis], len(rows), *item[self.spec.axis :])

    def read(self, samples: Positions) -> NDArray[Any]:
        """The array for these samples, as the model takes it."""
        found = self.column.read(self.rows(samples))
        return np.ascontiguousarray(np.moveaxis(found, 0, self.spec.axis)) if self.spec.axis else found

    @property
    def even(self) -> bool:
        """Whether all samples have the same shape."""
        if len(self.column.shapes()) > 1:
            return False
        return self.calls is None or len(set(np.diff(self.calls).tolist())) == 1
