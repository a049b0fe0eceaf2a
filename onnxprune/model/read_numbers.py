"""The real numbers that weights of integer operators stand for, as their node reads them: (q - zero point) * scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.model.packed_weights import BLOCKED, unpacked

Array = NDArray[Any]
Float = NDArray[np.float64]
BEHIND = -1
"""In place of a slot: the scale is multiplied behind the node."""
PARTS: dict[str, dict[int, tuple[int, int]]] = {
    "ConvInteger": {1: (BEHIND, 3)},
    "MatMulInteger": {0: (BEHIND, 2), 1: (BEHIND, 3)},
    "QLinearConv": {3: (4, 5)},
    "QLinearMatMul": {0: (1, 2), 3: (4, 5)},
    "QGemm": {3: (4, 5)},
    "DynamicQuantizeMatMul": {1: (2, 3)},
    "MatMulIntegerToFloat": {0: (2, 4), 1: (3, 5)},
    "DynamicQuantizeLSTM": {1: (8, 9), 2: (10, 11)},
}
"""By operator, of the slots that may hold weights: the slots of their scale and zero point."""
OF_INTEGERS = frozenset({*PARTS, BLOCKED})
CONVOLUTIONS = frozenset({"ConvInteger", "QLinearConv"})
LONGEST_WAY = 4


def numbers(graph: Graph, node: Node, slot: int) -> Array:
    """What input `slot`, which `is_computed`, stands for, in an array with the same first axes.

    A packed weight (N, blocks, bytes) becomes (N, blocks, inputs of a block). Of what is no weight of an integer
    operator, or has scales that are not known, the values as they are stored. Raises KeyError and ModelError as
    `folded`.
    """
    if node.op_type == BLOCKED and slot == 1:
        return unpacked(graph, node)
    values = folded(graph, node.inputs[slot])
    parts = PARTS.get(node.op_type, {}).get(slot)
    if parts is None or values.dtype.kind == "f":
        return values
    scale = _behind(graph, node) if parts[0] == BEHIND else _known(graph, node, parts[0])
    zero = _known(graph, node, parts[1])
    found = values.astype(np.float64)
    if zero is not None:
        found = found - _spread(node, zero, values.ndim)
    if scale is not None:
        found = found * _spread(node, scale, values.ndim)
    return found


def _known(graph: Graph, node: Node, slot: int) -> Float | None:
    key = node.inputs[slot] if slot < len(node.inputs) else ""
    return folded(graph, key).astype(np.float64) if key and is_computed(graph, key) else None


def _spread(node: Node, part: Float, rank: int) -> Float:
    """Of one number, or of one for each output, in a shape that broadcasts with a weight of this rank."""
    if part.size == 1:
        return part.reshape(())
    if node.op_type in CONVOLUTIONS:
        return part.reshape(-1, *[1] * (rank - 1))
    if node.op_type == "DynamicQuantizeLSTM":  # a direction each, and maybe a row of each gate
        return part.reshape(part.shape[0], 1, -1)
    return part


def _behind(graph: Graph, node: Node) -> Float | None:
    """The constant part of what the product of integers is multiplied by, behind Cast; None if it is not found."""
    key = node.outputs[0]
    for _ in range(LONGEST_WAY):
        readers = graph.consumers.get(key, ())
        if len(readers) != 1:
            return None
        reader = graph.nodes[readers[0][0]]
        if reader.op_type == "Mul":
            found = _constant_factor(graph, reader.inputs[1 - readers[0][1]])
            return None if found is None else _per_output(graph, node, found)
        if reader.op_type != "Cast":
            return None
        key = reader.outputs[0]
    return None


def _constant_factor(graph: Graph, key: str) -> Float | None:
    if is_computed(graph, key):
        return folded(graph, key).astype(np.float64)
    maker = graph.producer.get(key)
    if maker is None or graph.nodes[maker].op_type != "Mul":
        return None
    known = [k for k in graph.nodes[maker].inputs if is_computed(graph, k)]
    return folded(graph, known[0]).astype(np.float64) if known else None


def _per_output(graph: Graph, node: Node, scale: Float) -> Float | None:
    """One number, or one for each output; None of a scale of another shape."""
    weight = graph.constants.get(node.inputs[1])
    outputs = 0 if weight is None else weight.shape[0 if node.op_type in CONVOLUTIONS else -1]
    return scale.ravel() if scale.size in (1, outputs) else None
