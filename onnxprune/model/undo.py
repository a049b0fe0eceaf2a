"""Weights that the graph makes of constants, and the constants that make a weight of new values.

What is followed is the way of the numbers themselves: through operators that move them, and through products and sums
with other constants, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Constant, Graph, Node
from onnxprune.model.tensors import FLOATS

Array = NDArray[Any]
MOST_NODES = 32
SHAPED = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze"})
SCALED = frozenset({"Mul", "Div", "Add", "Sub"})
WHOLE = frozenset({TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16, TensorProto.INT32})
"""Integer types that weights are stored in and that are written by rounding."""


@dataclass(frozen=True)
class Made:
    """`key` as it is made of `constants` by `nodes` (in their order), all of which can be undone. `dtype`: of it."""

    key: str
    constants: tuple[str, ...]
    nodes: tuple[Node, ...]
    dtype: int


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
    if not types <= (FLOATS | WHOLE if any(node.op_type == "Cast" for node in found) else FLOATS):
        return None
    return Made(key, tuple(constants), found, _type(graph, key))


def undone(graph: Graph, way: Made, array: Array) -> dict[str, Array]:
    """The values of the constants of which the weight `array` is made."""
    values = {way.key: array}
    for node in reversed(way.nodes):
        result = values.pop(node.outputs[0])
        slots = _carrying(graph, node)
        if node.op_type == "Concat":
            sizes = [folded(graph, key).shape[node.attribute("axis")] for key in node.inputs]
            parts = np.split(result, np.cumsum(sizes)[:-1], node.attribute("axis"))
            values.update(zip(node.inputs, parts, strict=True))
        else:
            values[node.inputs[slots[0]]] = _before(graph, node, slots[0], result)
    return {key: _stored(graph.constants[key], value) for key, value in values.items()}


# ---- inner -----------------------------------------------------------------------------------------------------
def _type(graph: Graph, key: str) -> int:
    while key not in graph.constants:
        node = graph.nodes[graph.producer[key]]
        if node.op_type == "Cast":
            return int(node.attribute("to"))
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
    return _scaled(graph, node) if node.op_type in SCALED else []


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
