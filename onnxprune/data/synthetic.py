"""`random`: the data-free mode. Normal numbers with the statistics that the model's first operators undo.

Sample i is made from (seed, input, i) when it is read: nothing is stored, and any order of reading gives the same.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.data.column import Positions, Shape
from onnxprune.data.convert import family
from onnxprune.data.specs import InputSpec
from onnxprune.model.graph import Graph, Node
from onnxprune.model.lookup import compared_with, table_size

DEFAULT_SAMPLES = 256
_STEPS = 8


class Random:
    """Rows of one input. Floats: mean + deviation * normal; integers: within their table; see `_integers`."""

    def __init__(
        self, graph: Graph, spec: InputSpec, shape: tuple[int, ...], number: int, samples: int, seed: int
    ) -> None:
        self.rows = samples * spec.group
        self._spec, self._seed = spec, (seed, number)
        self._item = shape[1:]
        self._kind = family(spec.numpy)
        self.note = ""
        self._mean, self._std = np.zeros(1), np.ones(1)
        if self._kind == "float":
            found = first_statistics(graph, spec)
            if found is not None:
                self._mean, self._std, self.note = found
        self._table = table_size(graph, spec.name) if self._kind == "integer" else None
        single = int(np.prod(shape)) == 1
        self._switch = compared_with(graph, spec.name) if single and self._kind == "integer" else []

    def shapes(self) -> set[Shape]:
        return {self._item}

    def shape(self, row: int) -> Shape:
        return self._item

    def label(self, row: int) -> str:
        return f"random row {row}"

    def read(self, rows: Positions) -> NDArray[Any]:
        result = np.empty((len(rows), *self._item), self._spec.numpy)
        for place, row in enumerate(rows):
            rng = np.random.default_rng((*self._seed, int(row)))
            result[place] = self._row(rng, int(row)).astype(self._spec.numpy)
        return result

    def _row(self, rng: np.random.Generator, row: int) -> NDArray[Any]:
        if self._spec.dtype == TensorProto.STRING:
            return np.full(self._item, "text", object)
        if self._kind == "integer":
            return self._integers(rng, row)
        values = self._mean + self._std * rng.standard_normal(self._item)
        return values.reshape(self._item)  # a mean of one number makes one axis of a single number

    def _integers(self, rng: np.random.Generator, row: int) -> NDArray[Any]:
        """Rows of the table; a switch takes its values in turn; masks and flags are on; any byte; else 0 or 1."""
        if self._switch:
            choices = [*self._switch, self._switch[-1] + 1]
            return np.full(self._item, choices[row % len(choices)])
        if self._table is not None:
            return rng.integers(0, self._table, self._item)
        if self._spec.dtype == TensorProto.BOOL or "mask" in self._spec.name.lower():
            return np.ones(self._item, np.int64)
        if self._spec.dtype in (TensorProto.UINT8, TensorProto.INT8):
            low = 0 if self._spec.dtype == TensorProto.UINT8 else -128
            return rng.integers(low, low + 256, self._item)
        return rng.integers(0, 2, self._item)


def first_statistics(graph: Graph, spec: InputSpec) -> tuple[NDArray[Any], NDArray[Any], str] | None:
    """(mean, deviation, node) of the data that the first operators expect; the arrays broadcast to an item.

    A BatchNormalization knows them; a chain of Sub, Add, Mul and Div with constants makes its result standard normal.
    """
    slope, shift = np.ones(1), np.zeros(1)  # of the chain so far: slope * input + shift
    key, last = spec.name, ""
    for _ in range(_STEPS):
        consumers = graph.consumers.get(key, [])
        if len(consumers) != 1:
            break
        node, slot = graph.nodes[consumers[0][0]], consumers[0][1]
        if node.op_type == "BatchNormalization" and slot == 0:
            found = _batch_norm(graph, node, len(spec.shape))
            return None if found is None else _solved(spec, found[0], found[1], slope, shift, node.label)
        step = _affine(graph, node, slot, spec)
        if step is None:
            break
        slope, shift = slope * step[0], shift * step[0] + step[1]
        key, last = node.outputs[0], node.label if node.op_type not in ("Identity", "Cast") else last
    return _solved(spec, np.zeros(1), np.ones(1), slope, shift, last) if last else None


def _batch_norm(graph: Graph, node: Node, rank: int) -> tuple[NDArray[Any], NDArray[Any]] | None:
    mean, variance = (graph.constants.get(key) for key in node.inputs[3:5])
    if mean is None or variance is None or rank < 2:
        return None
    shape = (-1, *[1] * (rank - 2))
    values = [np.asarray(c.array(), np.float64).reshape(shape) for c in (mean, variance)]
    return values[0], np.sqrt(np.maximum(values[1], 0))


def _affine(graph: Graph, node: Node, slot: int, spec: InputSpec) -> tuple[NDArray[Any], NDArray[Any]] | None:
    """(slope, shift) of one operator, as arrays that broadcast to an item (no batch axis)."""
    zero, one = np.zeros(1), np.ones(1)
    if node.op_type == "Identity" or (
        node.op_type == "Cast" and node.attribute("to") in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE)
    ):
        return one, zero
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or len(node.inputs) != 2:
        return None
    constant = graph.constants.get(node.inputs[1 - slot])
    if constant is None or constant.size > 4096 or len(constant.shape) > len(spec.shape):
        return None
    value = np.asarray(constant.array(), np.float64)
    if value.ndim == len(spec.shape):
        if value.ndim and value.shape[0] != 1:
            return None
        value = value.reshape(value.shape[1:]) if value.ndim else value
    if node.op_type == "Add":
        return one, value
    if node.op_type == "Sub":
        return (one, -value) if slot == 0 else (-one, value)
    if node.op_type == "Mul":
        return value, zero
    return (1 / value, zero) if slot == 0 and value.all() else None


def _solved(
    spec: InputSpec,
    mean: NDArray[Any],
    std: NDArray[Any],
    slope: NDArray[Any],
    shift: NDArray[Any],
    label: str,
) -> tuple[NDArray[Any], NDArray[Any], str] | None:
    """Statistics of x from those of slope * x + shift; None if they are not finite or do not fit an item."""
    if not slope.all():
        return None
    result = (mean - shift) / slope, std / np.abs(slope)
    sizes = [size if isinstance(size, int) else None for size in spec.shape[1:]]
    for array in result:
        for have, want in zip(array.shape[::-1], sizes[::-1], strict=False):
            if have != 1 and have != want:
                return None
        if array.ndim > max(len(sizes), 1) or not np.isfinite(array).all():
            return None
    return *result, label
