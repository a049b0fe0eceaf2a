"""Layers cut out of their network, each with what is fused behind it, as small networks that can be timed.

All names and all large values are gone from a piece: layers that do the same work have equal pieces and equal keys.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from onnxprune.model.graph import Constant, Graph, Node
from onnxprune.model.infer import Facts
from onnxprune.sparse.fuse import Shapes, fuse
from onnxprune.sparse.layers import Declined, read_layer
from onnxprune.sparse.quantized import quantized_weight, read_quantized

LARGEST = 1 << 30  # bytes of a weight: larger ones do not fit into one file with others
WEIGHT = "weight"


@dataclass(frozen=True)
class Piece:
    """`weight`: the name of the initializer in the network; `node`: the label of the layer; `covers`: indices of the
    nodes that a sparse operator would stand for; `model`: the piece without its weight, which is called WEIGHT;
    `shape`, `dtype`: of the weight as the file has it; `transposed`: whether outputs are its last axis.
    """

    weight: str
    node: str
    covers: tuple[int, ...]
    model: ModelProto
    shape: tuple[int, ...]
    dtype: int
    transposed: bool
    depthwise: bool
    key: str

    @property
    def words(self) -> str:
        """For people who read a cache."""
        inputs = [[d.dim_value for d in v.type.tensor_type.shape.dim] for v in self.model.graph.input]
        return f"{' '.join(n.op_type for n in self.model.graph.node)}, weight {list(self.shape)}, inputs {inputs}"

    def filled(self, seed: int = 0) -> ModelProto:
        """The dense network, with a random weight."""
        rng = np.random.default_rng(seed)
        if self.dtype == TensorProto.INT8:
            array: NDArray[Any] = rng.integers(-63, 64, self.shape, np.int8)
        else:
            array = rng.standard_normal(self.shape, np.float32) / np.float32(math.sqrt(math.prod(self.shape[1:])))
        model = ModelProto()
        model.CopyFrom(self.model)
        model.graph.initializer.append(numpy_helper.from_array(array, WEIGHT))
        return model


@dataclass(frozen=True)
class Untimed:
    """A layer that could be sparse as far as its operator goes, and why it cannot be timed."""

    weight: str
    node: str
    reason: str


def pieces(graph: Graph, facts: Facts, weights: Collection[str] | None = None) -> list[Piece | Untimed]:
    """Of all layers that sparse operators may stand for, depthwise ones included, in order; `weights`: of these only.

    Left out is what the operators do not know at all: `sparse.rewrite` gives the reason.
    """
    shapes = Shapes.of(graph)
    taken: set[int] = set()
    found: list[Piece | Untimed] = []
    for node in graph.nodes:
        quantized = quantized_weight(graph, node)
        name = quantized or (node.inputs[1] if len(node.inputs) > 1 else "")
        if name not in graph.constants or (weights is not None and name not in weights):
            continue
        try:
            if quantized:
                integers = read_quantized(graph, node)
                weight, transposed, depthwise = integers.weight, integers.transposed, False
                nodes = (*_feeders(graph, integers.nodes), *integers.nodes)
                taken.update(n.index for n in integers.nodes)
            else:
                layer = read_layer(graph, node)
                nodes = fuse(graph, shapes, node, layer, taken).nodes
                weight, transposed, depthwise = layer.weight, layer.transposed, layer.family == "DepthwiseConv"
                taken.update(n.index for n in nodes)
        except Declined:
            continue
        try:
            found.append(_piece(graph, facts, nodes, weight, transposed, depthwise, node.label))
        except _Unknown as reason:
            found.append(Untimed(weight.name, node.label, str(reason)))
    return found


class _Unknown(Exception):
    """Why there is no piece."""


def _feeders(graph: Graph, nodes: Sequence[Node]) -> list[Node]:
    """What dequantises the inputs of quantised layers, and scales: part of what runtimes fuse."""
    found: dict[int, Node] = {}
    open_ = [key for node in nodes for key in node.inputs]
    inside = {key for node in nodes for key in node.outputs}
    while open_:
        key = open_.pop()
        index = graph.producer.get(key)
        if index is None or index in found or key in inside:
            continue
        node = graph.nodes[index]
        if node.op_type in ("DequantizeLinear", "DynamicQuantizeLinear") or (
            node.op_type == "Mul" and any(k in graph.constants for k in node.inputs)
        ):
            found[index] = node
            if node.op_type != "DynamicQuantizeLinear":
                open_ += node.inputs
    return [found[index] for index in sorted(found)]


def _piece(
    graph: Graph, facts: Facts, nodes: Sequence[Node], weight: Constant, transposed: bool, depthwise: bool, label: str
) -> Piece:
    if math.prod(weight.shape) * 4 > LARGEST:
        raise _Unknown("its weight is too large to be timed alone")
    names: dict[str, str] = {weight.key: WEIGHT, "": ""}
    inputs, constants = [], []
    made: list[NodeProto] = []
    for node in nodes:
        for key in node.inputs:
            if key in names:
                continue
            names[key] = f"v{len(names)}"
            if key in graph.constants:
                constants.append(numpy_helper.from_array(graph.constants[key].array(), names[key]))
            else:
                inputs.append(helper.make_tensor_value_info(names[key], facts.dtypes.get(key, 0), _shape(facts, key)))
        for key in node.outputs:
            names.setdefault(key, f"v{len(names)}")
        made.append(_renamed(node, names, len(made)))
    last = nodes[-1].outputs[0]
    output = helper.make_tensor_value_info(names[last], facts.dtypes.get(last, TensorProto.FLOAT), None)
    proto = helper.make_graph(made, "layer", inputs, [output], constants)
    opsets = [entry for entry in graph.model.proto.opset_import if entry.domain in ("", "ai.onnx")]
    model = helper.make_model(proto, opset_imports=opsets, ir_version=max(graph.model.proto.ir_version, 8))
    return Piece(
        weight.name, label, tuple(n.index for n in nodes), model, tuple(weight.shape), weight.dtype, transposed,
        depthwise, _key(model, weight),
    )  # fmt: skip


def _renamed(node: Node, names: dict[str, str], number: int) -> NodeProto:
    proto = NodeProto(op_type=node.op_type, domain=node.domain, name=f"n{number}")
    proto.attribute.extend(sorted(node.proto.attribute, key=lambda a: a.name))
    proto.input.extend(names[key] for key in node.inputs)
    proto.output.extend(names[key] for key in node.outputs)
    return proto


def _shape(facts: Facts, key: str) -> list[int]:
    shape = facts.shapes.get(key)
    if shape is None or None in shape or 0 in shape or not facts.dtypes.get(key):
        raise _Unknown("the size of its input is not known before it runs")
    return [int(size or 0) for size in shape]


def _key(model: ModelProto, weight: Constant) -> str:
    """Constants count by their shapes, single numbers by their values."""
    plain = ModelProto()
    plain.CopyFrom(model)
    for tensor in plain.graph.initializer:
        if math.prod(tensor.dims) > 1:
            tensor.ClearField("raw_data")
    text = plain.SerializeToString(deterministic=True) + repr((weight.shape, weight.dtype)).encode()
    return hashlib.sha256(text).hexdigest()[:32]
