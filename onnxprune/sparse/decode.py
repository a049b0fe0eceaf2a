"""A file with sparse weights as a dense model again: the same network in standard operators, zeros in its weights."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError
from onnxprune.model import LazyTensor, Model
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.names import fresh_prefix, taken
from onnxprune.model.splice import splice
from onnxprune.native.marks import DOMAIN
from onnxprune.sparse.storage import Stored, StoredIntegers, decode, decode_integers

Array = NDArray[Any]
_OPERATOR = re.compile("(SparseConv|SparseMatMul|DepthwiseConv|SparseQConv|SparseQMatMul)(Add)?(Relu|Clip)?")
_CONVOLUTION = ("strides", "pads", "dilations", "group")
BOUNDS_ARE_INPUTS = 11  # opset of Clip
VALUES = {"SparseConv": 1, "SparseMatMul": 1, "SparseQConv": 3, "SparseQMatMul": 3}
"""The input with the stored values, by family; their gaps are the next one."""


def family_of(node: Node) -> str:
    """The family of a sparse operator, "" for any other."""
    match = _OPERATOR.fullmatch(node.op_type) if node.domain == DOMAIN else None
    return match[1] if match else ""


def stored_weight(graph: Graph, node: Node) -> Array:
    """The weight of a sparse operator, outputs first. Raises ModelError for one that cannot be."""
    family = family_of(node)
    shape = tuple(int(size) for size in node.attribute("weight_shape", []))
    rows, integers = int(node.attribute("block", 0)), "Q" in family
    slot = VALUES[family]
    values, gaps = (_constant(graph, node, slot + k) for k in (0, 1))
    count, block = len(gaps), rows * (4 if integers else 1)
    blocks = 0
    if len(shape) > 1 and rows > 0 and min(shape) >= 1:
        depth = shape[1:] if not integers else (-(-shape[1] // 4), *shape[2:])
        blocks = -(-shape[0] // rows) * int(np.prod(depth, dtype=np.int64))
    places = np.cumsum(gaps, dtype=np.int64)
    kind = np.dtype(np.int8 if integers else np.float32)
    right = values.dtype == kind and gaps.dtype == np.uint8 and values.size == count * block and blocks > 0
    if not right or (count and (not gaps.all() or places[-1] > blocks)):
        raise ModelError(f"the weight of node {node.label!r} is not stored as its shape {list(shape)} wants")
    if integers:
        return decode_integers(StoredIntegers(values, gaps, rows, shape))
    return decode(Stored(values, gaps, rows, shape))


def dense_again(model: Model) -> Model:
    """The network of a file with sparse operators or sparse initializers, without either.

    Fused sums and activations are nodes of their own again. Raises ModelError for weights that cannot be.
    """
    model = dense_initializers(model)
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    graph = build(model.replace(proto, model.tensors))
    work = _Decoding(graph, dict(model.tensors))
    found = [node for node in graph.nodes if node.scope == 0 and family_of(node)]
    before = {node.index: list(work.nodes_for(node)) for node in found}
    splice(graph, before, set(before))
    if not any(node.domain == DOMAIN for node in graph.nodes if node.index not in before):
        functions = [entry for entry in proto.functions if entry.domain != DOMAIN]
        imports = [entry for entry in proto.opset_import if entry.domain != DOMAIN]
        del proto.functions[:], proto.opset_import[:]
        proto.functions.extend(functions)
        proto.opset_import.extend(imports)
    read = {name for node in proto.graph.node for name in node.input} | {value.name for value in proto.graph.output}
    stored = {name for node in found for name in node.proto.input}
    return model.replace(proto, {name: t for name, t in work.tensors.items() if name in read or name not in stored})


def dense_initializers(model: Model) -> Model:
    """Without sparse initializers. Raises ModelError for one that cannot be."""
    if not model.proto.graph.sparse_initializer:
        return model
    tensors = {**model.tensors, **dict(_sparse_initializers(model.proto))}
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    del proto.graph.sparse_initializer[:]
    return model.replace(proto, tensors)


def _sparse_initializers(proto: ModelProto) -> Iterator[tuple[str, LazyTensor]]:
    for sparse in proto.graph.sparse_initializer:
        yield sparse.values.name, LazyTensor.from_array(sparse.values.name, _dense(sparse), sparse.values.data_type)


def _dense(sparse: SparseTensorProto) -> Array:
    values, indices = numpy_helper.to_array(sparse.values), numpy_helper.to_array(sparse.indices)
    size = int(np.prod(sparse.dims, dtype=np.int64))
    if indices.ndim == 2 and indices.shape[1] == len(sparse.dims):
        indices = np.ravel_multi_index(tuple(indices.T), tuple(sparse.dims), mode="clip")
    if indices.shape != values.shape or (indices.size and not 0 <= indices.min() <= indices.max() < size):
        raise ModelError(f"the sparse initializer {sparse.values.name!r} has values outside of its shape")
    dense = np.zeros(size, values.dtype)
    dense[indices] = values
    return dense.reshape(tuple(sparse.dims))


def _constant(graph: Graph, node: Node, slot: int) -> Array:
    constant = graph.constants.get(node.inputs[slot]) if len(node.inputs) > slot else None
    if constant is None:
        raise ModelError(f"the weight of node {node.label!r} is not in the file")
    return constant.array().ravel()


class _Decoding:
    def __init__(self, graph: Graph, tensors: dict[str, LazyTensor]) -> None:
        self.graph, self.tensors, self.count = graph, tensors, 0
        self.prefix = fresh_prefix("onnxprune.dense.", taken(graph.model.proto, tensors))

    def nodes_for(self, node: Node) -> Iterator[NodeProto]:
        """Standard nodes for a sparse operator, as its function has them."""
        family, last = family_of(node), node.proto.output[0]
        steps = list(_STEPS[family](self, node))
        if "Add" in node.op_type:
            steps.append(helper.make_node("Add", ["", node.proto.input[4]], [""]))
        if node.op_type.endswith("Relu"):
            steps.append(helper.make_node("Relu", [""], [""]))
        elif node.op_type.endswith("Clip"):
            steps.append(self.clip(float(node.attribute("low")), float(node.attribute("high"))))
        previous = ""
        for number, step in enumerate(steps):
            for slot, name in enumerate(step.input):
                step.input[slot] = name or previous
            if not step.output[0]:
                previous = step.output[0] = last if number + 1 == len(steps) else self.fresh()
            step.name = node.proto.name if number == 0 else ""
            yield step

    def clip(self, low: float, high: float) -> NodeProto:
        if self.graph.model.opset() < BOUNDS_ARE_INPUTS:
            return helper.make_node("Clip", [""], [""], min=low, max=high)
        return helper.make_node("Clip", ["", *(self.add(np.array(b, np.float32)) for b in (low, high))], [""])

    def conv(self, node: Node) -> Iterator[NodeProto]:
        x, _, _, bias = node.proto.input[:4]
        weight = self.add(stored_weight(self.graph, node))
        yield helper.make_node("Conv", [x, weight, bias], [""], **_attributes(node))

    def depthwise(self, node: Node) -> Iterator[NodeProto]:
        yield helper.make_node("Conv", list(node.proto.input[:3]), [""], **_attributes(node))

    def matmul(self, node: Node) -> Iterator[NodeProto]:
        x, _, _, bias = node.proto.input
        yield helper.make_node("MatMul", [x, self.add(stored_weight(self.graph, node).T)], [""])
        yield helper.make_node("Add", ["", bias], [""])

    def quantized_conv(self, node: Node) -> Iterator[NodeProto]:
        x, x_scale, x_zero, _, _, scale, y_scale, y_zero, bias = node.proto.input
        weight = stored_weight(self.graph, node)
        zeros = self.add(np.zeros(len(weight), np.int8))
        inputs = [x, x_scale, x_zero, self.add(weight), scale, zeros, y_scale, y_zero, bias]
        yield helper.make_node("QLinearConv", inputs, [""], **_attributes(node))

    def quantized_matmul(self, node: Node) -> Iterator[NodeProto]:
        x, x_scale, x_zero, _, _, scale, bias = node.proto.input
        weight, scales = self.add(stored_weight(self.graph, node).T), self.fresh()
        yield helper.make_node("Mul", [x_scale, scale], [scales])
        yield helper.make_node("MatMulInteger", [x, weight, x_zero], [""])
        yield helper.make_node("Cast", [""], [""], to=TensorProto.FLOAT)
        yield helper.make_node("Mul", ["", scales], [""])
        yield helper.make_node("Add", ["", bias], [""])

    def add(self, array: Array) -> str:
        name = self.fresh()
        self.tensors[name] = LazyTensor.from_array(name, np.ascontiguousarray(array))
        return name

    def fresh(self) -> str:
        self.count += 1
        return f"{self.prefix}{self.count}"


_STEPS: dict[str, Callable[[_Decoding, Node], Iterator[NodeProto]]] = {
    "SparseConv": _Decoding.conv,
    "SparseMatMul": _Decoding.matmul,
    "DepthwiseConv": _Decoding.depthwise,
    "SparseQConv": _Decoding.quantized_conv,
    "SparseQMatMul": _Decoding.quantized_matmul,
}


def _attributes(node: Node) -> dict[str, Any]:
    return {name: node.attribute(name) for name in _CONVOLUTION if name in node.attributes}
