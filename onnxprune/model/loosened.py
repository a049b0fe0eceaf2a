"""Layers with packed weights as plain products of what DequantizeLinear makes of their integers, and back.

    MatMulNBits(x, B, scales, zeros)  <->  MatMul(x, DequantizeLinear(Q, scales, zeros)')

Q is (N, K), with a scale and a zero point for each block of K. Products of what is rounded in every run have such a
form as well (dynamic_products.py). Repairs read the second form, where a weight is made of integers as anywhere else;
the file has the first one again, with the same names. Nobody runs the second one: what makes the weight is folded first
(`plain.hoisted`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.dynamic_products import Product, products
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import taken
from onnxprune.model.packed_weights import BLOCKED, SCALE, WEIGHT, ZERO, join_bits, split_bits, zero_points
from onnxprune.model.tensors import LazyTensor

MOST_BYTES = 1 << 30
"""Of all weights as float32; layers behind that stay packed."""
TYPES: Mapping[int, int] = {4: TensorProto.UINT4, 8: TensorProto.UINT8}
PARTS = ("integers", "scales", "zeros", "stored", "weight")


@dataclass(frozen=True)
class _Packed:
    """A layer that can be loosened; `names` by `PARTS`: of its initializers, and of what its two new nodes give."""

    node: Node
    names: Mapping[str, str]

    @property
    def block(self) -> int:
        return int(self.node.attribute("block_size"))

    @property
    def bits(self) -> int:
        return int(self.node.attribute("bits", 4))

    @property
    def sizes(self) -> tuple[int, int]:
        """(N, K)"""
        return int(self.node.attribute("N")), int(self.node.attribute("K"))


def loosened(model: Model) -> Model:
    """`model` in the second form; itself if no layer can be."""
    graph = build(model)
    layers, dynamic = _layers(graph), _products(graph)
    if not layers and not dynamic:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    tensors = dict(model.tensors)
    nodes: list[NodeProto] = []
    instead: dict[str, list[NodeProto]] = {}
    for product in dynamic:
        instead |= {str(node.proto.output[0]): [] for node in product.nodes[:3]} | {product.y: product.plain()}
    for layer in layers:
        instead[layer.node.proto.output[0]] = _loose(graph, layer, tensors)
    for node in proto.graph.node:
        nodes += instead.get(node.output[0], [node]) if node.output else [node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return model.replace(proto, tensors)


def tightened(model: Model, packed: Model) -> Model:
    """`model`, which was made of the second form of `packed`, in the first one."""
    graph = build(packed)
    layers, dynamic = _layers(graph), _products(graph)
    if not layers and not dynamic:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    tensors = {**packed.tensors, **model.tensors}
    for layer in layers:
        _tight(layer, tensors)
    first = {str(layer.node.proto.output[0]) for layer in layers}
    first |= {str(node.proto.output[0]) for product in dynamic for node in product.nodes}
    gone = {layer.names[part] for layer in layers for part in ("stored", "weight")} | {one.made for one in dynamic}
    nodes = _nodes(model.proto.graph.node, packed.proto.graph.node, first, gone)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return model.replace(proto, tensors)


def _nodes(
    now: Iterable[NodeProto], before: Iterable[NodeProto], first: Collection[str], gone: Collection[str]
) -> list[NodeProto]:
    """The nodes `before` in their order, as they are `now` but for those that give a value in `first`; with new ones
    right before their readers, but for those that give a value in `gone`.
    """
    order = list(before)
    known = {node.output[0] for node in order if node.output}
    as_it_is: dict[str, NodeProto] = {}
    added: dict[str, list[NodeProto]] = {}
    waiting: list[NodeProto] = []
    for node in now:
        if not node.output or node.output[0] in gone:
            continue
        if node.output[0] not in known:
            waiting.append(node)
            continue
        as_it_is[node.output[0]] = node
        added[node.output[0]], waiting = waiting, []
    result: list[NodeProto] = []
    for node in order:
        name = node.output[0] if node.output else ""
        result += [*added.get(name, ()), node if name in first else as_it_is.get(name, node)]
    return result


def packed_parts(graph: Graph) -> set[str]:
    """The initializers of layers that can be loosened to which a repair may give new values: integers, and scales."""
    packed = {layer.node.inputs[slot] for layer in _layers(graph) for slot in (WEIGHT, SCALE)}
    return packed | {key for product in _products(graph) for key in (product.weight, product.scale)}


# ---- inner -----------------------------------------------------------------------------------------------------
def _layers(graph: Graph) -> list[_Packed]:
    """Those at the top level whose numbers nobody else reads."""
    known, total = taken(graph.model.proto, graph.model.tensors), 0
    found: list[_Packed] = []
    for node in graph.nodes:
        names = {part: f"{node.proto.output[0]}.{part}" for part in PARTS}
        if not _plain(graph, node) or not known.isdisjoint(names.values()):
            continue
        total += 4 * int(node.attribute("N")) * int(node.attribute("K"))
        if total > MOST_BYTES:
            break
        found.append(_Packed(node, names))
    return found


def _products(graph: Graph) -> list[Product]:
    known = taken(graph.model.proto, graph.model.tensors)
    return [product for product in products(graph) if product.made not in known]


def _plain(graph: Graph, node: Node) -> bool:
    if node.op_type != BLOCKED or node.scope or node.attribute("bits", 4) not in TYPES or any(node.inputs[ZERO + 1 :]):
        return False
    keys = [key for key in node.inputs[WEIGHT:] if key]
    own = all(key in graph.model.tensors and key not in graph.fixed for key in keys)
    if not own or len(keys) < 2 or any(len(graph.consumers[key]) > 1 for key in keys):
        return False
    if any(node.inputs[ZERO:]) and graph.constants[node.inputs[ZERO]].dtype != TensorProto.UINT8:
        return False
    outputs, blocks = graph.constants[node.inputs[WEIGHT]].shape[:2]
    scale = graph.constants[node.inputs[SCALE]]
    if scale.size != math.prod((outputs, blocks)) or outputs != node.attribute("N"):
        return False
    array = scale.array().astype(np.float32)
    return bool(np.isfinite(array).all() and (array > 0).all())


def _loose(graph: Graph, layer: _Packed, tensors: dict[str, LazyTensor]) -> list[NodeProto]:
    """The nodes in place of one; its initializers leave `tensors`, and new ones enter."""
    node, names, (outputs, inputs) = layer.node, layer.names, layer.sizes
    packed, scale = (graph.constants[node.inputs[slot]] for slot in (WEIGHT, SCALE))
    blocks = packed.shape[1]
    integers = split_bits(packed.array().view(np.uint8), layer.bits, layer.block).reshape(outputs, -1)[:, :inputs]
    arrays = {
        "integers": (integers, TYPES[layer.bits]),
        "scales": (scale.array().reshape(outputs, blocks), scale.dtype),
        "zeros": (zero_points(graph, node, outputs, blocks), TYPES[layer.bits]),
    }
    for key in filter(None, node.inputs[WEIGHT:]):
        tensors.pop(key)
    for part, (array, dtype) in arrays.items():
        tensors[names[part]] = LazyTensor.from_array(names[part], array, dtype)
    x, y = node.proto.input[0], node.proto.output[0]
    undo = helper.make_node(
        "DequantizeLinear",
        [names[part] for part in arrays],
        [names["stored"]],
        axis=1,
        block_size=layer.block,
    )
    turn = helper.make_node("Transpose", [names["stored"]], [names["weight"]], perm=[1, 0])
    return [undo, turn, helper.make_node("MatMul", [x, names["weight"]], [y], node.proto.name)]


def _tight(layer: _Packed, tensors: dict[str, LazyTensor]) -> None:
    """New values of the packed weight and its scales; `tensors` loses those of the second form."""
    (outputs, inputs), node = layer.sizes, layer.node
    integers, scales = (tensors.pop(layer.names[part]).array() for part in ("integers", "scales"))
    tensors.pop(layer.names["zeros"])
    weight, scale = (tensors[node.inputs[slot]] for slot in (WEIGHT, SCALE))
    padding = -inputs % layer.block
    old = split_bits(weight.array().view(np.uint8), layer.bits, layer.block).reshape(outputs, -1)
    whole = np.concatenate([integers.astype(np.uint8), old[:, old.shape[1] - padding :]], axis=1)
    blocks = whole.reshape(outputs, -1, layer.block)
    tensors[weight.name] = weight.with_array(join_bits(blocks, layer.bits).reshape(weight.shape))
    tensors[scale.name] = scale.with_array(scales.reshape(scale.shape))
