"""Which weights can be small, in which form, and why the others stay."""

from __future__ import annotations

import math
from dataclasses import dataclass

from onnx import TensorProto

from onnxprune.capture.features import Linear, linear_layer
from onnxprune.model.graph import Graph, Node
from onnxprune.model.tensors import dtype_name
from onnxprune.quantizing.weights.request import FLOAT, INT4, WeightRequest

BLOCKS, ROWS, WHOLE = "blocks", "rows", "whole"
"""Forms: MatMulNBits in place of the product; rows of a table, made real after they are gathered; the whole tensor made
real under its own name, for whoever reads it."""
SLOTS = {
    "Conv": (1,),
    "ConvTranspose": (1,),
    "Gemm": (1, 0),
    "MatMul": (1, 0),
    "LSTM": (1, 2),
    "GRU": (1, 2),
    "RNN": (1, 2),
    "Gather": (0,),
}
"""Operators of ONNX that have weights, and the inputs that are."""


@dataclass(frozen=True)
class Place:
    """A weight: `key`, its initializer in the working form; `node` reads it first, as input `slot`.

    kind: what it becomes, None with a `reason`; form: how; axis: of its outputs, each of which has a scale. linear: how
    samples see the layer, None if they do not. note: why it is not what was asked.
    """

    key: str
    node: Node
    shape: tuple[int, ...]
    axis: int
    kind: str | None
    form: str = WHOLE
    linear: Linear | None = None
    reason: str | None = None
    note: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


def places(graph: Graph, request: WeightRequest) -> list[Place]:
    """The weights of a model in its working form, in the order of the layers; each once."""
    found: dict[str, Place] = {}
    for node in graph.nodes:
        if node.domain:
            continue
        for slot in SLOTS.get(node.op_type, ()):
            key = node.inputs[slot] if slot < len(node.inputs) else ""
            constant = graph.constants.get(key) or graph.overridable.get(key)
            if constant is not None and key not in found and _is_weight(node, constant.dtype, constant.shape):
                found[key] = _place(graph, node, slot, key, request)
    return list(found.values())


# ---- inner -----------------------------------------------------------------------------------------------------
def _is_weight(node: Node, dtype: int, shape: tuple[int, ...]) -> bool:
    """Not positions and sizes, nor vectors."""
    floats = dtype in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)
    table = node.op_type != "Gather" or (int(node.attribute("axis", 0)) == 0 and len(shape) == 2)
    return floats and len(shape) >= 2 and table


def _place(graph: Graph, node: Node, slot: int, key: str, request: WeightRequest) -> Place:
    constant = graph.constants.get(key) or graph.overridable[key]
    shape, axis = constant.shape, _axis(node, slot, constant.shape)
    place = Place(key, node, shape, axis, None)
    reason = _float(graph, node, key, request)
    if reason is not None:
        return _with(place, reason=reason)
    form = ROWS if _only_gathered(graph, key) else WHOLE
    linear = _linear(graph, node, slot, key)
    if request.kind != INT4:
        return _with(place, kind=request.kind, form=form, linear=linear)
    obstacle = _no_blocks(graph, key, shape)
    if obstacle is None:
        return _with(place, kind=INT4, form=BLOCKS, linear=linear)
    if request.others == FLOAT:
        return _with(place, reason=obstacle)
    return _with(place, kind=request.others, form=form, linear=linear, note=obstacle)


def _with(
    place: Place,
    *,
    kind: str | None = None,
    form: str = WHOLE,
    linear: Linear | None = None,
    reason: str | None = None,
    note: str | None = None,
) -> Place:
    return Place(place.key, place.node, place.shape, place.axis, kind, form, linear, reason, note)


def _axis(node: Node, slot: int, shape: tuple[int, ...]) -> int:
    """Of the outputs: one scale for each."""
    if node.op_type in ("Conv", "Gather"):
        return 0
    if node.op_type in ("ConvTranspose", "LSTM", "GRU", "RNN"):
        return 1
    if node.op_type == "Gemm":
        turned = bool(node.attribute("transB" if slot == 1 else "transA", 0))
        return int(turned != (slot == 1))
    return len(shape) - (1 if slot == 1 else 2)


def _float(graph: Graph, node: Node, key: str, request: WeightRequest) -> str | None:
    """Why a weight stays as it is."""
    constant = graph.constants.get(key) or graph.overridable[key]
    kept = [graph.nodes[index].label for index, _ in graph.consumers[key]]
    reasons = [request.kept[label] for label in kept if label in request.kept]
    if reasons:
        return reasons[0]
    if key in graph.fixed:
        return f"its weight is {graph.fixed[key]}"
    if constant.dtype != TensorProto.FLOAT:
        return f"its weight is {dtype_name(constant.dtype)}, not FLOAT"
    if key not in graph.model.tensors:
        where = "in a body of control flow" if constant.scope else "a constant that others read on its way, too"
        return f"its weight is {where}"
    if constant.size < request.least:
        return f"its weight has {constant.size} numbers, fewer than {request.least}"
    return None


def _only_gathered(graph: Graph, key: str) -> bool:
    readers = [(graph.nodes[index], slot) for index, slot in graph.consumers[key]]
    return all(
        node.op_type == "Gather" and not node.domain and slot == 0 and node.attribute("axis", 0) == 0
        for node, slot in readers
    )


def _linear(graph: Graph, node: Node, slot: int, key: str) -> Linear | None:
    """The linear view of a layer at the top level whose weight nobody else reads."""
    if node.scope != 0 or slot != 1 or len(graph.consumers[key]) != 1:
        return None
    return linear_layer(graph, node, shared_bias=True, implied=True)


def _no_blocks(graph: Graph, key: str, shape: tuple[int, ...]) -> str | None:
    """Why MatMulNBits cannot stand for all readers of a weight."""
    readers = [(graph.nodes[index], slot) for index, slot in graph.consumers[key]]
    turned = set()
    for node, slot in readers:
        if node.domain or node.op_type not in ("MatMul", "Gemm"):
            also = "" if len(readers) == 1 else ", which reads its weight, too"
            return f"int4 is for products of matrices, not for {node.op_type}{also}"
        if slot != 1:
            return "its weight is on the left"
        if node.scope != 0:
            return "it is in a body of control flow"
        if node.attribute("transA", 0):
            return "its input is transposed (transA)"
        if node.attribute("beta", 1.0) != 1.0 and len(node.inputs) > 2 and node.inputs[2]:
            return f"its beta is {node.attribute('beta', 1.0):g}"
        turned.add((bool(node.attribute("transB", 0)), float(node.attribute("alpha", 1.0))))
    if len(shape) != 2:
        return f"its weight has {len(shape)} axes"
    return None if len(turned) == 1 else "its readers take it in two ways"
