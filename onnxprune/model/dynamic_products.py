"""Products of what is rounded in every run with weights of integers, as quantisers write them, and as plain ones.

    q, s, z = DynamicQuantizeLinear(x);  y = Cast(MatMulInteger(q, B, z, b)) * (s * t)
    <->  y = MatMul(x, DequantizeLinear(B, t, b))

ConvInteger and Conv likewise. The second form does not round x. It reads the same initializers, so that nothing but
nodes changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.graph import Graph, Node

QUANTISER, CONVOLUTION = "DynamicQuantizeLinear", "ConvInteger"
PLAIN = {CONVOLUTION: "Conv", "MatMulInteger": "MatMul"}
WEIGHT, ZERO = 1, 3


@dataclass(frozen=True)
class Product:
    """`nodes`: that of integers, Cast, the product of the scales, and the last one, which gives `y`. `x`: the name of
    what is rounded; `scale`: of what `weight` is multiplied by.
    """

    nodes: tuple[Node, Node, Node, Node]
    x: str
    weight: str
    scale: str

    @property
    def y(self) -> str:
        return str(self.nodes[3].proto.output[0])

    @property
    def made(self) -> str:
        """The name of the weight as numbers."""
        return f"{self.y}.weight"

    def plain(self) -> list[NodeProto]:
        """The nodes of the second form."""
        read = [self.weight, self.scale, *self.nodes[0].proto.input[ZERO : ZERO + 1]]
        undo = helper.make_node("DequantizeLinear", read, [self.made], axis=1)  # of one scale it says nothing
        whole = self.nodes[0].proto
        layer = helper.make_node(PLAIN[whole.op_type], [self.x, self.made], [self.y], whole.name)
        layer.attribute.extend(whole.attribute)
        return [undo, layer]


def products(graph: Graph) -> list[Product]:
    """Those at the top level whose weight, scale and values on the way nobody else reads."""
    found = (_product(graph, node) for node in graph.nodes if node.op_type in PLAIN and not node.scope)
    return [product for product in found if product is not None]


def ends(graph: Graph) -> Mapping[int, int]:
    """By the index of a product of integers, that of the node which gives its product as numbers."""
    return {product.nodes[0].index: product.nodes[3].index for product in products(graph)}


def _product(graph: Graph, node: Node) -> Product | None:
    quantiser = _maker(graph, node.inputs[0], QUANTISER)
    weight = graph.constants.get(node.inputs[WEIGHT])
    cast = _reader(graph, node.outputs[0], "Cast")
    end = None if cast is None or cast.attribute("to") != TensorProto.FLOAT else _reader(graph, cast.outputs[0], "Mul")
    if quantiser is None or weight is None or cast is None or end is None or len(weight.shape) < 2:
        return None
    convolution = node.op_type == CONVOLUTION
    if len(weight.shape) > 2 and not convolution:
        return None
    other = next((key for key in end.inputs if key != cast.outputs[0]), "")
    scales = _maker(graph, other, "Mul")
    if scales is None or _reader(graph, other, "Mul") is None or quantiser.outputs[1] not in scales.inputs:
        return None
    scale = next((key for key in scales.inputs if key != quantiser.outputs[1]), "")
    zeros = [key for key in node.inputs[ZERO:] if key]
    sizes = (1,) if convolution else (1, weight.shape[1])
    known = [graph.constants[key] for key in (scale, *zeros) if key in graph.constants]
    if [*node.inputs, ""][2] != quantiser.outputs[2] or len(known) < 1 + len(zeros):
        return None
    if any(len(one.shape) > 1 or one.size not in sizes for one in known):
        return None
    if any(key in graph.fixed or key not in graph.model.tensors for key in (node.inputs[WEIGHT], scale, *zeros)):
        return None
    if any(len(graph.consumers[key]) > 1 for key in (node.inputs[WEIGHT], scale)) or quantiser.scope:
        return None
    values = known[0].array()
    if not (np.isfinite(values) & (values > 0)).all():
        return None
    return Product((node, cast, scales, end), quantiser.proto.input[0], node.inputs[WEIGHT], scale)


def _maker(graph: Graph, key: str, kind: str) -> Node | None:
    index = graph.producer.get(key)
    node = None if index is None else graph.nodes[index]
    return node if node is not None and node.op_type == kind and not node.domain else None


def _reader(graph: Graph, key: str, kind: str) -> Node | None:
    """The only node that reads a value, which is no output."""
    readers = graph.consumers.get(key, ())
    node = graph.nodes[readers[0][0]] if len(readers) == 1 and key not in graph.fixed else None
    return node if node is not None and node.op_type == kind and not node.scope and not node.domain else None
