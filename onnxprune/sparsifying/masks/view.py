"""A layer as problems, one for each group, and back: weights and masks in the shape of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Linear
from onnxprune.capture.layers import with_bias
from onnxprune.capture.moments import Moments, Rows, Split
from onnxprune.model.tensors import LazyTensor
from onnxprune.repair.rectified import Clipping
from onnxprune.sparse.patterns import Pattern
from onnxprune.sparsifying.masks.layout import Layout
from onnxprune.sparsifying.masks.problem import Evidence, Problem

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class View:
    """A layer whose weight has `shape` in the file; all its groups have the same layout."""

    linear: Linear
    shape: tuple[int, ...]
    layout: Layout

    @classmethod
    def of(cls, linear: Linear, shape: tuple[int, ...], pattern: Pattern) -> View:
        matrix = linear.matrix(np.broadcast_to(np.float32(1.0), shape))
        features, outputs = matrix.shape[-2:]
        return cls(linear, shape, Layout(pattern, outputs, features // linear.taps, linear.taps))

    def problems(
        self,
        tensors: Mapping[str, LazyTensor],
        allowed: Bools,
        split: Split | None = None,
        clipping: Clipping | None = None,
    ) -> list[Problem]:
        """One for each group. allowed: of the shape of the weight in the file."""
        weights, may = self._stack(with_bias(self.linear, tensors)), self.to_rows(allowed)
        order = np.append(self.layout.order, self.layout.k)
        found = []
        for group, (weight, stays) in enumerate(zip(weights, may, strict=True)):
            evidence = None if split is None else self._evidence(split, group, order, clipping)
            found.append(Problem(weight.T[:, order], self.layout, stays, evidence))
        return found

    def solution(self, weights: Sequence[FloatArray]) -> FloatArray:
        """(k + 1, n), or a stack of these, of the weights (n, k + 1) of every group."""
        order = np.append(self.layout.order, self.layout.k)
        whole = np.empty((len(weights), self.layout.k + 1, self.layout.n))
        for group, weight in enumerate(weights):
            whole[group][order] = weight.T
        return whole if self.linear.groups > 1 else whole[0]

    def to_file(self, keeps: Sequence[Bools]) -> Bools:
        """The masks (n, k) of all groups in the shape of the weight in the file."""
        weights = [np.pad(keep.astype(np.float64), ((0, 0), (0, 1))) for keep in keeps]
        return np.asarray(self.linear.unmatrix(self.solution(weights)[..., :-1, :], self.shape) != 0)

    def to_rows(self, mask: Bools) -> list[Bools]:
        """The inverse of `to_file`."""
        stack = self._stack(self.linear.matrix(mask)) != 0
        return [part.T[:, self.layout.order] for part in stack]

    def _stack(self, matrix: FloatArray) -> FloatArray:
        return matrix if self.linear.groups > 1 else matrix[None]

    def _evidence(self, split: Split, group: int, order: NDArray[np.int64], clipping: Clipping | None) -> Evidence:
        def part(array: NDArray[np.float64]) -> NDArray[np.float64]:
            return array[group] if self.linear.groups > 1 else array

        def moments(whole: Moments) -> Moments:
            gram, cross = part(whole.gram)[np.ix_(order, order)], part(whole.cross)[order]
            return Moments(gram, cross, part(whole.target), part(whole.target_sum), whole.positions)

        def rows(whole: Rows | None) -> Rows | None:
            if whole is None or self.linear.groups == 1:
                return whole if whole is None else Rows(whole.x[:, order], whole.t, whole.shift)
            return Rows(whole.x[group][:, order], whole.t[group], None if whole.shift is None else whole.shift[group])

        biased = self.linear.bias is not None
        kept = rows(split.fit_rows), rows(split.held_out_rows)
        return Evidence(moments(split.fit), moments(split.held_out), biased, *kept, clipping)
