"""Weights that the graph makes of constants, and the constants that make a weight of new values.

What is followed is the way of the numbers themselves: through operators that move them, that take integers for them,
and through products and sums with other constants. These stay as they are, but for the scales of integers that new
values would not fit into: they grow as far as needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import helper

from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Constant, Graph, Node
from onnxprune.model.grids import INTEGERS, Grid, grid_of
from onnxprune.model.tensors import FLOATS

Array = NDArray[Any]
MOST_NODES = 32
SHAPED = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
SCALED = frozenset({"Mul", "Div", "Add", "Sub"})
ROUND, UNDO = "QuantizeLinear", "DequantizeLinear"
GRID_ATTRIBUTES = {"axis": 1, "block_size": 0}
WHOLE = frozenset(INTEGERS)
"""Integer types that weights are stored in and that are written by rounding."""


@dataclass(frozen=True)
class Made:
    """`key` as it is made of `constants` by `nodes` (in their order), all of which can be undone. `dtype`: of it.

    `scales`: constants by which integers are multiplied (node -> key), and that nobody else reads. `grids`: of the
    nodes that take integers for numbers.
    """

    key: str
    constants: tuple[str, ...]
    nodes: tuple[Node, ...]
    dtype: int
    scales: Mapping[int, str]
    grids: Mapping[int, Grid] = field(default_factory=dict)

    @property
    def last_grid(self) -> Grid | None:
        """That of `key`, if it comes right from integers."""
        return self.grids.get(self.nodes[-1].index) if self.nodes else None

    @property
    def grid(self) -> Grid | None:
        """The same, where they may also be transposed behind that."""
        orders: list[list[int] | None] = []
        for node in reversed(self.nodes):
            if node.index in self.grids:
                found = self.grids[node.index]
                for order in reversed(orders):
                    found = found.moved(order)
                return found
            if node.op_type == "Transpose":
                orders.append(node.attribute("perm"))
            elif node.op_type != "Identity":
                return None
        return None


@dataclass(frozen=True)
class Undone:
    """`constants`: their new values. `scales`: by node, of integers that had to grow."""

    constants: Mapping[str, Array]
    scales: Mapping[int, Array]


def made(graph: Graph, key: str) -> Made | None:
    """None if `key` does not come from constants, or by operators that cannot be undone."""
    if not is_computed(graph, key):
        return None
    todo, constants, nodes = [key], dict[str, None](), dict[int, Node]()
    while todo:
        current = todo.pop()
        if current in graph.constants:
            constants[current] = None
            continue
        node = graph.nodes[graph.producer[current]]
        slots = _carrying(graph, node)
        if not slots or node.index in nodes or len(nodes) == MOST_NODES:  # read twice: two values for one
            return None
        nodes[node.index] = node
        todo.extend(node.inputs[slot] for slot in slots)
    types = {graph.constants[start].dtype for start in constants}
    found = tuple(nodes[index] for index in sorted(nodes))
    if not types <= (FLOATS | WHOLE if any(node.op_type in ("Cast", UNDO) for node in found) else FLOATS):
        return None
    scales = {node.index: scale for node in found if (scale := _scale(graph, node)) is not None}
    grids = {node.index: grid for node in found if node.op_type == UNDO and (grid := grid_of(graph, node))}
    return Made(key, tuple(constants), found, _type(graph, key), scales, grids)


def undone(graph: Graph, way: Made, array: Array, grids: Mapping[int, Grid] | None = None) -> Undone:
    """What gives the weight `array`. `grids`: by node, the grid to use, if not the least that it fits into."""
    values = {way.key: array}
    grown: dict[int, Array] = {}
    for node in reversed(way.nodes):
        result = values.pop(node.outputs[0])
        slots = _carrying(graph, node)
        if node.op_type == "Concat":
            sizes = [folded(graph, key).shape[node.attribute("axis")] for key in node.inputs]
            parts = np.split(result, np.cumsum(sizes)[:-1], node.attribute("axis"))
            values.update(zip(node.inputs, parts, strict=True))
        elif node.index in way.grids:
            grid = (grids or {}).get(node.index) or way.grids[node.index].grown(result)
            rounds = _rounding(graph, node)
            values[node.inputs[0]] = grid.integers(result) if rounds is None else grid.rounded(result)
            if grid is not way.grids[node.index]:
                grown |= {one.index: grid.scale for one in (node, rounds) if one is not None}
        else:
            found = _before(graph, node, slots[0], result)
            if node.index in way.scales and node.op_type == "Mul":
                scale = graph.constants[way.scales[node.index]].array().astype(np.float64)
                factor = _growth(graph, node, slots[0], found, scale)
                if (factor > 1).any():
                    grown[node.index] = scale * factor
                    found = found / factor
            values[node.inputs[slots[0]]] = found
    return Undone({key: _stored(graph.constants[key], value) for key, value in values.items()}, grown)


# ---- inner -----------------------------------------------------------------------------------------------------
def _type(graph: Graph, key: str) -> int:
    while key not in graph.constants:
        node = graph.nodes[graph.producer[key]]
        if node.op_type == "Cast":
            return int(node.attribute("to"))
        if node.op_type == UNDO:
            return int(node.attribute("output_dtype", 0)) or graph.constants[node.inputs[1]].dtype
        key = node.inputs[_carrying(graph, node)[0]]
    return graph.constants[key].dtype


def _carrying(graph: Graph, node: Node) -> list[int]:
    """Slots of the inputs whose numbers the output holds; none for operators that are not undone."""
    if node.domain:
        return []
    if node.op_type in SHAPED | {"Identity", "Transpose"}:
        return [0]
    if node.op_type == "Cast":
        return [0] if node.attribute("to") in FLOATS else []
    if node.op_type == "Concat":
        return list(range(len(node.inputs)))
    if node.op_type in (UNDO, ROUND):
        return [0] if _usable(graph, node) else []
    return _scaled(graph, node) if node.op_type in SCALED else []


def _usable(graph: Graph, node: Node) -> bool:
    """Whether integers are made to numbers again, those that are rounded in the graph right behind that."""
    grid = grid_of(graph, node)
    if grid is None or not np.isfinite(grid.scale).all() or not (grid.scale > 0).all():
        return False
    if node.op_type == UNDO:
        return True
    readers = graph.consumers.get(node.outputs[0], [])
    reader = graph.nodes[readers[0][0]] if len(readers) == 1 else None
    return reader is not None and reader.op_type == UNDO and not reader.domain and _same_grid(node, reader)


def _same_grid(one: Node, other: Node) -> bool:
    named = all(one.attribute(name, usual) == other.attribute(name, usual) for name, usual in GRID_ATTRIBUTES.items())
    return one.inputs[1:] == other.inputs[1:] and named


def _rounding(graph: Graph, node: Node) -> Node | None:
    """The node that rounds in the graph what `node` makes numbers again."""
    producer = graph.producer.get(node.inputs[0])
    found = None if producer is None else graph.nodes[producer]
    return found if found is not None and found.op_type == ROUND else None


def _scaled(graph: Graph, node: Node) -> list[int]:
    """Of a product or a sum of a weight and something smaller: the weight. What is multiplied by must not be 0."""
    sizes = [folded(graph, key).size for key in node.inputs]
    shapes = [folded(graph, key).shape for key in node.inputs]
    slot = int(np.argmax(sizes))
    if sizes[0] == sizes[1] or np.broadcast_shapes(*shapes) != shapes[slot] or (node.op_type == "Div" and slot == 1):
        return []
    factor = folded(graph, node.inputs[1 - slot])
    usable = np.isfinite(factor).all() and (node.op_type in ("Add", "Sub") or (factor != 0).all())
    return [slot] if usable else []


def _before(graph: Graph, node: Node, slot: int, result: Array) -> Array:
    if node.op_type == "Transpose":
        order = node.attribute("perm") or list(range(result.ndim))[::-1]
        return np.transpose(result, np.argsort(order))
    if node.op_type in SHAPED:
        return result.reshape(folded(graph, node.inputs[slot]).shape)
    if node.op_type not in SCALED:
        return result
    other = folded(graph, node.inputs[1 - slot]).astype(np.float64)
    undo = _UNDO[node.op_type, slot]
    return np.asarray(undo(result.astype(np.float64), other))


def _scale(graph: Graph, node: Node) -> str | None:
    """The scale of integers, if a node multiplies them by one that may grow."""
    slots = _carrying(graph, node)
    if node.op_type in (UNDO, ROUND):
        rounds = _rounding(graph, node) if node.op_type == UNDO else node
        pair = {node.index} if rounds is None else {rounds.index, graph.consumers[rounds.outputs[0]][0][0]}
        return node.inputs[1] if _own(graph, node.inputs[1], pair) else None
    if node.op_type != "Mul" or not slots or _range(graph, node.inputs[slots[0]]) is None:
        return None
    key = node.inputs[1 - slots[0]]
    return key if _own(graph, key, {node.index}) else None


def _own(graph: Graph, key: str, nodes: set[int]) -> bool:
    """Whether `key` is an initializer of floats at the top level that only `nodes` read, each once."""
    constant = graph.constants.get(key)
    readers = graph.consumers.get(key, ())
    if constant is None or key in graph.fixed or len(readers) > len(nodes) or not {n for n, _ in readers} <= nodes:
        return False
    return constant.node is None and constant.scope == 0 and constant.dtype in FLOATS


def _range(graph: Graph, key: str) -> tuple[Array, Array] | None:
    """The least and the largest value of integers less their zero point; None for what is made in another way."""
    zero: Array = np.zeros(())
    moved = False
    while key not in graph.constants:
        node = graph.nodes[graph.producer[key]]
        if node.op_type == "Sub" and _carrying(graph, node) == [0] and not zero.any() and not moved:
            zero = folded(graph, node.inputs[1]).astype(np.float64)
        elif node.op_type not in SHAPED | {"Cast", "Identity", "Transpose"}:
            return None
        moved = moved or node.op_type in SHAPED | {"Transpose"}
        key = node.inputs[0]
    constant = graph.constants[key]
    if constant.dtype not in WHOLE or (moved and zero.size > 1):
        return None
    bounds = ml_dtypes.iinfo(np.dtype(helper.tensor_dtype_to_np_dtype(constant.dtype)))  # type: ignore[no-untyped-call]
    return float(bounds.min) - zero, float(bounds.max) - zero


def _growth(graph: Graph, node: Node, slot: int, values: Array, scale: Array) -> Array:
    """By how much a scale must grow, 1 or more, in its shape, for `values` to fit into their integers."""
    found = _range(graph, node.inputs[slot])
    assert found is not None
    least, most = (np.broadcast_to(bound, values.shape) for bound in found)
    share = np.zeros(values.shape)
    np.divide(values, most, out=share, where=(values > 0) & (most > 0))
    np.divide(values, least, out=share, where=(values < 0) & (least < 0))
    sizes = (1,) * (values.ndim - scale.ndim) + scale.shape
    axes = tuple(axis for axis, size in enumerate(sizes) if size == 1)
    return np.asarray(np.maximum(share.max(axis=axes, keepdims=True), 1.0).reshape(scale.shape))


_UNDO: dict[tuple[str, int], Callable[[Array, Array], Array]] = {
    ("Mul", 0): lambda y, c: y / c,
    ("Mul", 1): lambda y, c: y / c,
    ("Div", 0): lambda y, c: y * c,
    ("Add", 0): lambda y, c: y - c,
    ("Add", 1): lambda y, c: y - c,
    ("Sub", 0): lambda y, c: y + c,
    ("Sub", 1): lambda y, c: c - y,
}


def _stored(constant: Constant, values: Array) -> Array:
    """In the type of the file; integers are rounded, and stay in their range."""
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(constant.dtype))
    if constant.dtype in WHOLE:
        bounds = ml_dtypes.iinfo(kind)  # type: ignore[no-untyped-call]
        values = np.clip(np.rint(values.astype(np.float64)), float(bounds.min), float(bounds.max))
    return np.asarray(values.astype(kind).reshape(constant.shape))
