"""Writes ONNX nodes through values with operators; the only place that knows what differs between opset versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

Shape = tuple[int, ...]
_END = 2**31 - 1
SMALL = 2**18
"""Entries up to which the matrix of a linear map is written down."""


@dataclass
class Builder:
    """Collects `nodes` and `constants` for models of one `opset`; names start with `prefix`. `native`: operators of
    onnxprune's own library may be among them.
    """

    opset: int
    prefix: str
    native: bool = False
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, TensorProto] = field(default_factory=dict)
    _known: dict[tuple[Any, ...], Value] = field(default_factory=dict)
    _count: int = 0

    def name(self) -> str:
        self._count += 1
        return f"{self.prefix}{self._count}"

    def node(self, operator: str, inputs: Sequence[Value], shape: Shape, dtype: int, **attributes: Any) -> Value:
        """Append a node of one output; the caller knows the output's shape and element type."""
        return Value(self, self._append(operator, inputs, 1, attributes)[0], shape, dtype)

    def second(self, operator: str, inputs: Sequence[Value], shape: Shape, dtype: int, **attributes: Any) -> Value:
        """Append a node of two outputs and give the second one."""
        return Value(self, self._append(operator, inputs, 2, attributes)[1], shape, dtype)

    def _append(self, operator: str, inputs: Sequence[Value], count: int, attributes: dict[str, Any]) -> list[str]:
        outputs = [self.name() for _ in range(count)]
        names = [value.name for value in inputs]
        self.nodes.append(onnx.helper.make_node(operator, names, outputs, outputs[0], **attributes))
        return outputs

    def constant(self, array: NDArray[Any], dtype: int | None = None) -> Value:
        """An initializer with the values of `array` in the element type `dtype` (its own if None)."""
        kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype) if dtype is None else dtype
        stored = np.ascontiguousarray(array, onnx.helper.tensor_dtype_to_np_dtype(kind)).reshape(array.shape)
        key = (kind, stored.shape, stored.tobytes())
        if key not in self._known:
            name = self.name()
            self.constants[name] = onnx.helper.make_tensor(name, kind, stored.shape, stored.tobytes(), raw=True)
            self._known[key] = Value(self, name, stored.shape, kind)
        return self._known[key]

    def scalar(self, number: float, dtype: int) -> Value:
        return self.constant(np.array(number, np.float64), dtype)

    def integers(self, numbers: Sequence[int]) -> Value:
        return self.constant(np.array(numbers, np.int64))

    def zeros(self, shape: Shape, dtype: int) -> Value:
        return self.scalar(0, dtype).expand(shape)

    def gemm(self, a: Value, b: Value, *, trans_a: bool = False, trans_b: bool = False, alpha: float = 1.0) -> Value:
        """alpha * A' B' for matrices; the optional C of Gemm is required before opset 11."""
        shape = (a.shape[1 if trans_a else 0], b.shape[0 if trans_b else 1])
        inputs = [a, b] if self.opset >= 11 else [a, b, self.constant(np.zeros(1), a.dtype)]
        options = {"transA": int(trans_a), "transB": int(trans_b), "alpha": float(alpha)}
        return self.node("Gemm", inputs, shape, a.dtype, **options)

    def select(self, mask: Value, yes: Value, no: Value) -> Value:
        """`yes` where the mask is true, `no` elsewhere. Where came with opset 9."""
        shape = np.broadcast_shapes(mask.shape, yes.shape, no.shape)
        if self.opset >= 9:
            return self.node("Where", [mask, yes, no], shape, yes.dtype)
        return yes.where(mask) + no.where(~mask)

    def concat(self, values: Sequence[Value], axis: int) -> Value:
        if len(values) == 1:
            return values[0]
        shape = list(values[0].shape)
        shape[axis] = sum(value.shape[axis] for value in values)
        return self.node("Concat", values, tuple(shape), values[0].dtype, axis=axis)


@dataclass(frozen=True)
class Value:
    """A tensor of the graph with its concrete shape. Arithmetic on values appends nodes; numbers become constants."""

    at: Builder
    name: str
    shape: Shape
    dtype: int

    @property
    def rank(self) -> int:
        return len(self.shape)

    def apply(self, operator: str, **attributes: Any) -> Value:
        """An element-wise operator of one input."""
        return self.at.node(operator, [self], self.shape, self.dtype, **attributes)

    def _with(self, operator: str, left: Value | float, right: Value | float, dtype: int | None = None) -> Value:
        a = left if isinstance(left, Value) else self.at.scalar(left, self.dtype)
        b = right if isinstance(right, Value) else self.at.scalar(right, self.dtype)
        kind = self.dtype if dtype is None else dtype
        return self.at.node(operator, [a, b], np.broadcast_shapes(a.shape, b.shape), kind)

    def __add__(self, other: Value | float) -> Value:
        return self._with("Add", self, other)

    def __radd__(self, other: float) -> Value:
        return self._with("Add", other, self)

    def __sub__(self, other: Value | float) -> Value:
        return self._with("Sub", self, other)

    def __rsub__(self, other: float) -> Value:
        return self._with("Sub", other, self)

    def __mul__(self, other: Value | float) -> Value:
        return self if isinstance(other, (int, float)) and other == 1 else self._with("Mul", self, other)

    __rmul__ = __mul__

    def __truediv__(self, other: Value | float) -> Value:
        return self._with("Div", self, other)

    def __rtruediv__(self, other: float) -> Value:
        return self._with("Div", other, self)

    def __neg__(self) -> Value:
        return self.apply("Neg")

    def __gt__(self, other: Value | float) -> Value:
        return self._with("Greater", self, other, TensorProto.BOOL)

    def __lt__(self, other: Value | float) -> Value:
        return self._with("Less", self, other, TensorProto.BOOL)

    def __and__(self, other: Value) -> Value:
        return self._with("And", self, other)

    def __invert__(self) -> Value:
        return self.apply("Not")

    def where(self, mask: Value) -> Value:
        """This value where the mask is true, zero elsewhere: a product, which runs faster than Where."""
        return self * mask.cast(self.dtype)

    def is_zero(self) -> Value:
        """1 where this value is 0, else 0. Equal compares floats from opset 11 on only."""
        return (~(self > 0) & ~(self < 0)).cast(self.dtype)

    def cast(self, dtype: int) -> Value:
        return self if dtype == self.dtype else self.at.node("Cast", [self], self.shape, dtype, to=dtype)

    def reshape(self, shape: Sequence[int]) -> Value:
        wanted = tuple(shape)
        if wanted == self.shape:
            return self
        if 0 in wanted:  # Reshape reads 0 as "copy"
            return self.at.constant(np.zeros(wanted), self.dtype)
        return self.at.node("Reshape", [self, self.at.integers(wanted)], wanted, self.dtype)

    def transpose(self, order: Sequence[int]) -> Value:
        if list(order) == list(range(self.rank)):
            return self
        shape = tuple(self.shape[axis] for axis in order)
        return self.at.node("Transpose", [self], shape, self.dtype, perm=list(order))

    def expand(self, shape: Sequence[int]) -> Value:
        """Broadcast to `shape`, which has this rank or a higher one. Expand came with opset 8."""
        wanted = tuple(shape)
        if wanted == self.shape:
            return self
        if self.at.opset >= 8:
            return self.at.node("Expand", [self, self.at.integers(wanted)], wanted, self.dtype)
        full = self.reshape((1,) * (len(wanted) - self.rank) + self.shape)
        repeats = [new // old for new, old in zip(wanted, full.shape, strict=True)]
        return self.at.node("Tile", [full, self.at.integers(repeats)], wanted, self.dtype)

    def sum(self, axes: Sequence[int], *, keep: bool = True) -> Value:
        """Sum over `axes` (not negative). ReduceSum takes its axes as an input from opset 13 on."""
        if not axes:
            return self
        kept = tuple(1 if axis in axes else size for axis, size in enumerate(self.shape))
        shape = kept if keep else tuple(size for axis, size in enumerate(self.shape) if axis not in axes)
        if self.at.opset >= 13:
            inputs = [self, self.at.integers(sorted(axes))]
            return self.at.node("ReduceSum", inputs, shape, self.dtype, keepdims=int(keep))
        return self.at.node("ReduceSum", [self], shape, self.dtype, axes=sorted(axes), keepdims=int(keep))

    def mean(self, axes: Sequence[int]) -> Value:
        """Mean over `axes`, kept with size 1."""
        return self.sum(axes) * (1 / int(np.prod([self.shape[axis] for axis in axes])))

    def summed_to(self, shape: Shape) -> Value:
        """The adjoint of broadcasting from `shape` to this shape: sum over what was repeated."""
        if shape == self.shape:
            return self
        extra = self.rank - len(shape)
        axes = [*range(extra), *(extra + i for i, size in enumerate(shape) if size == 1 and self.shape[extra + i] != 1)]
        return self.sum(axes).reshape(shape)

    def slice(self, bounds: dict[int, tuple[int, int, int]]) -> Value:
        """x[start:end:step] on some axes; bounds lie within the axis. Slice has steps and inputs from opset 10 on."""
        changed = {axis: b for axis, b in bounds.items() if b != (0, self.shape[axis], 1)}
        if not changed:
            return self
        shape = list(self.shape)
        for axis, (start, end, step) in changed.items():
            shape[axis] = len(range(start, end, step))
        axes = list(changed)
        starts, ends, steps = ([bound[i] for bound in changed.values()] for i in range(3))
        if self.at.opset >= 10:
            inputs = [self, *(self.at.integers(numbers) for numbers in (starts, ends, axes, steps))]
            return self.at.node("Slice", inputs, tuple(shape), self.dtype)
        if all(step == 1 for step in steps):
            return self.at.node("Slice", [self], tuple(shape), self.dtype, axes=axes, starts=starts, ends=ends)
        value = self
        for axis, (start, end, step) in changed.items():
            value = value.take(np.arange(start, end, step), axis)
        return value

    def flip(self, axes: Sequence[int]) -> Value:
        """Reverse the order along `axes`."""
        ends = {axis: self.shape[axis] for axis in axes if self.shape[axis] > 1}
        if self.at.opset >= 10 and ends:
            inputs = ([n - 1 for n in ends.values()], [-_END - 1] * len(ends), list(ends), [-1] * len(ends))
            return self.at.node("Slice", [self, *map(self.at.integers, inputs)], self.shape, self.dtype)
        value = self
        for axis, size in ends.items():
            value = value.take(np.arange(size)[::-1], axis)
        return value

    def take(self, index: NDArray[Any], axis: int) -> Value:
        """Gather along an axis with constant indices, which may have any rank."""
        shape = self.shape[:axis] + index.shape + self.shape[axis + 1 :]
        return self.at.node("Gather", [self, self.at.constant(index.astype(np.int64))], shape, self.dtype, axis=axis)

    def put(self, index: NDArray[Any], axis: int, size: int) -> Value:
        """The adjoint of `take` for distinct indices of rank 1: zeros of `size` along `axis`, this value at `index`."""
        first, count = int(index[0]) if index.size else 0, index.size
        if np.array_equal(index, np.arange(first, first + count)):
            return self.pad({axis: (first, size - first - count)})
        if axis == self.rank - 1 and size * count <= SMALL:  # moving single elements is slow
            return self.along(np.eye(size)[index], axis)
        inverse = np.full(size, count)
        inverse[index] = np.arange(count)
        return self.pad({axis: (0, 1)}).take(inverse, axis)

    def along(self, matrix: NDArray[Any], axis: int) -> Value:
        """A linear map of one axis: `matrix` has as many rows as the axis has entries, its columns are the new ones."""
        order = [*(i for i in range(self.rank) if i != axis), axis]
        last = self.transpose(order)
        moved = last if self.rank > 1 else last.reshape((1, *last.shape))
        found = moved.matmul(self.at.constant(matrix, self.dtype))
        return found.reshape((*last.shape[:-1], matrix.shape[1])).transpose([int(i) for i in np.argsort(order)])

    def pad(self, amounts: dict[int, tuple[int, int]], value: float = 0.0) -> Value:
        """`value` before and after, a negative amount crops. Pads became an input with opset 11."""
        if all(amount == (0, 0) for amount in amounts.values()):
            return self
        before = [amounts.get(axis, (0, 0))[0] for axis in range(self.rank)]
        after = [amounts.get(axis, (0, 0))[1] for axis in range(self.rank)]
        shape = tuple(b + n + a for b, n, a in zip(before, self.shape, after, strict=True))
        if self.at.opset >= 11:
            inputs = [self, self.at.integers(before + after), self.at.scalar(value, self.dtype)]
            return self.at.node("Pad", inputs, shape, self.dtype)
        return self.at.node("Pad", [self], shape, self.dtype, pads=before + after, value=value)

    def matmul(self, other: Value) -> Value:
        """Matrix product of two values of rank 2 or more, with broadcast batches."""
        batch = np.broadcast_shapes(self.shape[:-2], other.shape[:-2])
        shape = (*batch, self.shape[-2], other.shape[-1])
        return self.at.node("MatMul", [self, other], shape, self.dtype)

    def swapped(self) -> Value:
        """The last two axes exchanged."""
        return self.transpose([*range(self.rank - 2), self.rank - 1, self.rank - 2])
