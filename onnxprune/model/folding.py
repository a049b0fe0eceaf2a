"""Weights that the graph computes: those that reach their layer through Identity, Cast, Transpose, QuantizeLinear or
DequantizeLinear, one after the other, and whatever else comes from constants alone (joined, scaled, summed).
"""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.errors import ModelError
from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import grid_of

PASSED = frozenset({"Identity", "Cast", "Transpose", "QuantizeLinear", "DequantizeLinear"})
MAX_STEPS = 8
KEPT_BYTES = 64 << 20


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


def in_place(graph: Graph, key: str, rank: int) -> list[Node] | None:
    """The same (`key` has this rank), if all numbers stay where they are, and nobody else reads what is on the way.

    Scales that they have are one for all, or belong to the first axis.
    """
    path = source(graph, key)
    for node in path or ():
        shapes = [graph.constants[k].shape for k in node.inputs[1:] if k]
        first = not node.attribute("block_size", 0) and node.attribute("axis", 1) % rank == 0
        plain = first or all(int(np.prod(shape)) == 1 for shape in shapes)
        if node.op_type == "Transpose" or not plain or len(graph.consumers[node.outputs[0]]) > 1:
            return None
    return path


def is_computed(graph: Graph, key: str) -> bool:
    """Whether `key` is a constant, or comes from constants alone."""
    return key in graph.constants or key in graph.computed


def folded(graph: Graph, key: str) -> NDArray[Any]:
    """The value of `key`, which `is_computed`. Raises KeyError if it is not, ModelError if it cannot be computed.

    What is computed is kept with the graph, KEPT_BYTES of it.
    """
    if key in graph.constants:
        return graph.constants[key].array()
    if key in graph.folded:
        return graph.folded[key]
    array = _folded(graph, key)
    if sum(kept.nbytes for kept in graph.folded.values()) + array.nbytes <= KEPT_BYTES:
        array = array.view()
        array.setflags(write=False)
        graph.folded[key] = array
    return array


def _folded(graph: Graph, key: str) -> NDArray[Any]:
    path = source(graph, key)
    if path is None:
        return _computed(graph, key)
    array = graph.constants[path[0].inputs[0] if path else key].array()
    for node in path:
        array = _apply(graph, node, array)
    return array


def expression(graph: Graph, key: str) -> list[Node]:
    """The nodes that make `key`, which `is_computed`, from constants, in their order."""
    todo, found = [key], set[int]()
    while todo:
        index = graph.producer.get(todo.pop())
        if index is None or index in found or graph.nodes[index].outputs[0] in graph.constants:
            continue
        found.add(index)
        todo.extend(k for k in graph.nodes[index].inputs if k)
    return [graph.nodes[index] for index in sorted(found)]


def _computed(graph: Graph, key: str) -> NDArray[Any]:
    if not is_computed(graph, key):
        raise KeyError(key)
    values: dict[str, NDArray[Any]] = {}
    for node in expression(graph, key):
        given = [None if not k else values[k] if k in values else graph.constants[k].array() for k in node.inputs]
        values.update(zip(node.outputs, _evaluated(graph, node, given), strict=False))
    return values[key]


def _evaluated(graph: Graph, node: Node, given: list[NDArray[Any] | None]) -> list[NDArray[Any]]:
    """The outputs of one node, by onnx's own reference implementation."""
    from onnx.reference import ReferenceEvaluator  # takes a while to import, and few models need it

    names = [f"i{k}" if array is not None else "" for k, array in enumerate(given)]
    copy = onnx.NodeProto()
    copy.CopyFrom(node.proto)
    del copy.input[:]
    copy.input.extend(names)
    inputs = [
        onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in zip(names, given, strict=True)
        if array is not None
    ]
    outputs = [onnx.ValueInfoProto(name=name) for name in copy.output if name]
    opset = [onnx.helper.make_opsetid("", graph.model.opset())]
    proto = onnx.helper.make_model(onnx.helper.make_graph([copy], "node", inputs, outputs), opset_imports=opset)
    feed = {name: array for name, array in zip(names, given, strict=True) if array is not None}
    try:
        result = iter(ReferenceEvaluator(proto).run(None, feed))
    except Exception as error:  # it raises many types
        raise ModelError(f"what node {node.label!r} makes of constants cannot be computed: {error}") from error
    return [np.asarray(next(result)) if name else np.zeros(0) for name in copy.output]


def _apply(graph: Graph, node: Node, array: NDArray[Any]) -> NDArray[Any]:
    if node.op_type == "Cast":
        return array.astype(onnx.helper.tensor_dtype_to_np_dtype(node.attribute("to")))
    if node.op_type == "Transpose":
        return np.transpose(array, node.attribute("perm"))
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return _scaled(graph, node, array)
    return array


def _scaled(graph: Graph, node: Node, array: NDArray[Any]) -> NDArray[Any]:
    """Per tensor, axis or block. Quantised values stay float32 here: whole numbers within the bounds of their type."""
    scale = graph.constants[node.inputs[1]].array()
    grid = grid_of(graph, node) if node.attribute("block_size", 0) else None
    if grid is not None:
        undo = node.op_type == "DequantizeLinear"
        return grid.values(array) if undo else grid.integers(array).astype(np.float32)
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
