"""Weights that reach their layer through Identity, Cast, Transpose, QuantizeLinear or DequantizeLinear."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.model.graph import Graph, Node

PASSED = frozenset({"Identity", "Cast", "Transpose", "QuantizeLinear", "DequantizeLinear"})
MAX_STEPS = 8


def source(graph: Graph, key: str) -> list[Node] | None:
    """The nodes between a constant and `key`, the constant's consumer first; None if `key` is not such a weight."""
    path: list[Node] = []
    while key not in graph.constants:
        index = graph.producer.get(key)
        node = None if index is None else graph.nodes[index]
        if node is None or node.domain or node.op_type not in PASSED or len(path) == MAX_STEPS:
            return None
        if any(k and k not in graph.constants for k in node.inputs[1:]):
            return None
        path.append(node)
        key = node.inputs[0]
    return path[::-1]


def folded(graph: Graph, key: str) -> NDArray[Any]:
    """The value of `key`, a weight for which `source` gives a path."""
    path = source(graph, key)
    if path is None:
        raise KeyError(key)
    array = graph.constants[path[0].inputs[0] if path else key].array()
    for node in path:
        array = _apply(graph, node, array)
    return array


def _apply(graph: Graph, node: Node, array: NDArray[Any]) -> NDArray[Any]:
    if node.op_type == "Cast":
        return array.astype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to")))
    if node.op_type == "Transpose":
        return np.transpose(array, node.attribute("perm"))
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _scaled(graph, node, array)
    return array


def _scaled(graph: Graph, node: Node, array: NDArray[Any]) -> NDArray[Any]:
    """Per tensor or per axis. Quantised values stay float32 here: whole numbers within the bounds of their type."""
    scale = graph.constants[node.inputs[1]].array()
    known = len(node.inputs) > 2 and bool(node.inputs[2])
    zero = graph.constants[node.inputs[2]].array() if known else np.zeros(1, np.uint8)
    factor, offset = (along_axis(node, part.astype(np.float32), array.ndim) for part in (scale, zero))
    if node.op_type == "DequantizeLinear":
        return np.asarray((array.astype(np.float32) - offset) * factor)
    if zero.dtype.kind == "f" or "float" in zero.dtype.name:
        return np.asarray(array.astype(np.float32) / factor)
    bounds = ml_dtypes.iinfo(zero.dtype)  # type: ignore[no-untyped-call]
    wide = np.rint(array.astype(np.float32) / factor) + offset
    return np.asarray(np.clip(wide, float(bounds.min), float(bounds.max)))


def along_axis(node: Node, part: NDArray[Any], rank: int) -> NDArray[Any]:
    """The scale or the zero point of a (De)QuantizeLinear, in a shape that broadcasts with its values of this rank."""
    shape = [1] * rank
    if part.size > 1:
        shape[node.attribute("axis", 1)] = part.size
    return part.reshape(shape)
