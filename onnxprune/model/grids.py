"""Grids: the real numbers that integers of some type stand for, as QuantizeLinear and DequantizeLinear define them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.graph import Graph, Node

Array = NDArray[Any]
INTEGERS: Mapping[int, int] = {
    TensorProto.UINT8: 8,
    TensorProto.INT8: 8,
    TensorProto.UINT16: 16,
    TensorProto.INT16: 16,
    TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
    TensorProto.INT32: 32,
}
"""Element types of quantised values, and their bits."""


def bounds_of(dtype: int) -> tuple[int, int]:
    """The least and the largest integer of a type."""
    found = ml_dtypes.iinfo(helper.tensor_dtype_to_np_dtype(dtype))  # type: ignore[no-untyped-call]
    return int(found.min), int(found.max)


@dataclass(frozen=True, eq=False)
class Grid:
    """x = scale * (q - zero_point), q of the ONNX integer type `dtype`.

    `scale` (float32) and `zero_point` (of that type) have the shape (), one for all; (channels,) along `axis`; or, with
    a `block`, that of the tensor with as many entries along `axis` as it has blocks of this size.
    """

    dtype: int
    scale: Array
    zero_point: Array
    axis: int | None = None
    block: int = 0

    @property
    def bounds(self) -> tuple[int, int]:
        """The least and the largest q."""
        return bounds_of(self.dtype)

    def integers(self, x: Array) -> Array:
        """The nearest q, ties to even as the operators round, of the integer type."""
        low, high = self.bounds
        wide = np.rint(x.astype(np.float64) / self._broadcast(self.scale, x)) + self._broadcast(self.zero_point, x)
        return np.asarray(np.clip(wide, low, high).astype(helper.tensor_dtype_to_np_dtype(self.dtype)))

    def values(self, q: Array) -> NDArray[np.float32]:
        """What q stands for."""
        return np.asarray(
            (q.astype(np.float64) - self._broadcast(self.zero_point, q)) * self._broadcast(self.scale, q), np.float32
        )

    def rounded(self, x: Array) -> NDArray[np.float32]:
        """The numbers of the grid that are nearest to x."""
        return self.values(self.integers(x))

    def grown(self, x: Array) -> Grid:
        """The grid, or one of larger scales, each as large as it must be for its part of x to lie within the bounds.

        What rounds to a bound lies within them. Only signs that the integers have count: of the others nothing fits,
        whatever the scale.
        """
        steps = x.astype(np.float64) / self._broadcast(self.scale, x)
        low, high = (np.broadcast_to(b - self._broadcast(self.zero_point, x), steps.shape) for b in self.bounds)
        share, nearest = np.zeros(steps.shape), np.rint(steps)
        np.divide(steps, high, out=share, where=(nearest > high) & (high > 0))
        np.divide(steps, low, out=share, where=(nearest < low) & (low < 0))
        return self.scaled(np.maximum(self._most(share), 1.0))

    def scaled(self, factor: Array) -> Grid:
        """The grid with scales that are `factor` times as large, in the shape of the scale or ()."""
        if (factor == 1).all():
            return self
        return replace(self, scale=(self.scale * factor.astype(np.float64)).astype(np.float32))

    def moved(self, order: Sequence[int] | None) -> Grid:
        """The grid of x.transpose(order), by default with all axes in reverse."""
        if self.axis is None:
            return self
        axis = -1 - self.axis if order is None else list(order).index(self.axis % len(order))
        scale, zero = (part.transpose(order) if self.block else part for part in (self.scale, self.zero_point))
        return replace(self, axis=axis, scale=scale, zero_point=zero)

    def steps(self, x: Array) -> NDArray[np.float32]:
        """The scale of every number of x, or what broadcasts to that."""
        return np.asarray(self._broadcast(self.scale, x), np.float32)

    def _most(self, x: Array) -> Array:
        """The largest of x for each scale."""
        if self.axis is None or self.scale.ndim == 0:
            return np.asarray(x.max(initial=0.0))
        axis = self.axis % x.ndim
        if self.block:
            return np.asarray(np.maximum.reduceat(x, np.arange(0, x.shape[axis], self.block), axis=axis))
        return np.asarray(x.max(axis=tuple(i for i in range(x.ndim) if i != axis), initial=0.0))

    def distance(self, x: Array, y: Array) -> Array:
        """How far apart x and y are, in steps of the grid."""
        return np.asarray(np.abs(x.astype(np.float64) - y.astype(np.float64)) / self._broadcast(self.scale, x))

    def _broadcast(self, part: Array, x: Array) -> Array:
        return self.spread(part, x.shape)

    def spread(self, part: Array, shape: tuple[int, ...]) -> NDArray[np.float64]:
        """`scale` or `zero_point` so that it broadcasts to a tensor of `shape`."""
        wide = part.astype(np.float64)
        if self.axis is None or wide.ndim == 0:
            return wide
        axis = self.axis % len(shape)
        if self.block:
            return np.repeat(wide, self.block, axis)[tuple(slice(0, size) for size in shape)]
        return wide.reshape(-1, *[1] * (len(shape) - 1 - axis))


def grid_of(graph: Graph, node: Node) -> Grid | None:
    """Of a QuantizeLinear or a DequantizeLinear; None where scale or zero point are no constants, or no integers."""
    if any(key and key not in graph.constants for key in node.inputs[1:3]):
        return None
    scale = graph.constants[node.inputs[1]].array()
    if len(node.inputs) > 2 and node.inputs[2]:
        constant = graph.constants[node.inputs[2]]
        dtype, zero = constant.dtype, constant.array()
    else:
        dtype = _type(graph, node)
        if dtype not in INTEGERS:
            return None
        zero = np.zeros(scale.shape, helper.tensor_dtype_to_np_dtype(dtype))
    if dtype not in INTEGERS:
        return None
    axis = None if scale.size == 1 and scale.ndim < 2 else int(node.attribute("axis", 1))
    block = int(node.attribute("block_size", 0))
    if axis is None:
        scale, zero = scale.reshape(()), zero.reshape(())
    return Grid(dtype, scale.astype(np.float32), zero, axis, block)


def _type(graph: Graph, node: Node) -> int:
    """Of the integers of a node without a zero point; 0 if nothing says it."""
    if node.op_type == "QuantizeLinear":
        return int(node.attribute("output_dtype", 0)) or TensorProto.UINT8
    constant = graph.constants.get(node.inputs[0])
    return 0 if constant is None else constant.dtype
