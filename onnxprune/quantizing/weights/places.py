"""Which weights can be small, in which form, and why the others stay."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx import TensorProto

from onnxprune.capture.features import Linear, linear_layer
from onnxprune.model.folding import is_computed
from onnxprune.model.graph import Constant, Graph, Node
from onnxprune.model.integers import QUANTISED, final, has_quantisers
from onnxprune.model.tensors import FLOATS, dtype_name
from onnxprune.quantizing.weights.request import DYNAMIC, FLOAT, INT4, INT8_BLOCKS, WeightRequest

BLOCKS, PRODUCT, RECURRENCE, ROWS, WHOLE = "blocks", "product", "recurrence", "rows", "whole"
"""Forms: MatMulNBits in place of a product; MatMulInteger; DynamicQuantizeLSTM; rows of a table, made real after they
are gathered; the whole tensor made real under its own name, for whoever reads it."""
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
PRODUCTS = ("MatMul", "Gemm")
DYNAMIC_OPSET = 11
"""The first with DynamicQuantizeLinear."""
LEAST_PRODUCT = 4096
"""Numbers of a weight whose inputs are rounded: below, rounding them takes longer than it saves."""


@dataclass(frozen=True)
class Place:
    """A weight: `key`, its initializer in the working form; `node` reads it first.

    kind: what it becomes, None with a `reason`; form: how; axis: of its outputs, each of which has a scale. linear: how
    samples see the layer, None if they do not. note: why it is not what was asked. key is "" for a product that has no
    weight.
    """

    key: str
    node: Node
    shape: tuple[int, ...] = ()
    axis: int = 0
    kind: str | None = None
    form: str = WHOLE
    linear: Linear | None = None
    reason: str | None = None
    note: str | None = None

    @property
    def size(self) -> int:
        return math.prod(self.shape) if self.key else 0


def places(graph: Graph, request: WeightRequest) -> list[Place]:
    """The weights of a model in its working form, in the order of the layers, each once; and products without one."""
    found: dict[str, Place] = {}
    if has_quantisers(graph):
        layers = [node for node in graph.nodes if not node.domain and node.op_type in SLOTS]
        return [Place("", node, reason=QUANTISED) for node in layers]
    for node in graph.nodes:
        stored = final(node)
        if stored is not None:
            found[node.label] = Place("", node, reason=stored)
        if node.domain or node.op_type not in SLOTS:
            continue
        read = [(slot, node.inputs[slot]) for slot in SLOTS[node.op_type] if slot < len(node.inputs)]
        weights = [(slot, key) for slot, key in read if _is_weight(node, _constant(graph, key))]
        for slot, key in weights:
            if key not in found:
                found[key] = _place(graph, node, slot, key, request)
        if not weights and node.op_type != "Gather":
            found[node.label] = Place("", node, reason=_no_weight(graph, node))
    return list(found.values())


# ---- inner -----------------------------------------------------------------------------------------------------
def _constant(graph: Graph, key: str) -> Constant | None:
    return graph.constants.get(key) or graph.overridable.get(key)


def _is_weight(node: Node, constant: Constant | None) -> bool:
    """Not positions and sizes, nor vectors."""
    if constant is None or constant.dtype not in FLOATS or len(constant.shape) < 2:
        return False
    return node.op_type != "Gather" or (int(node.attribute("axis", 0)) == 0 and len(constant.shape) == 2)


def _no_weight(graph: Graph, node: Node) -> str:
    fixed = next(
        (graph.fixed[key] for key in node.inputs[1:] if key in graph.fixed and key not in graph.producer), None
    )
    if fixed is not None:
        return f"its weight is {fixed}"
    if any(is_computed(graph, key) and _constant(graph, key) is None for key in node.inputs if key):
        return "its weight is made of constants in a way that cannot be undone"
    if node.op_type in PRODUCTS and not any(_constant(graph, key) for key in node.inputs if key):
        return "it has no weight: both of its inputs are computed"
    return "it has no weight of two axes or more"


def _place(graph: Graph, node: Node, slot: int, key: str, request: WeightRequest) -> Place:
    constant = _constant(graph, key)
    assert constant is not None
    place = Place(key, node, constant.shape, _axis(node, slot, constant.shape))
    labels = [graph.nodes[index].label for index, _ in graph.consumers[key]]
    kind = next((request.chosen[label] for label in labels if label in request.chosen), request.kind)
    reason = next((request.kept[label] for label in labels if label in request.kept), None)
    reason = reason or ("chosen to stay" if kind == FLOAT else None) or _float(graph, constant, request)
    if reason is not None:
        return replace(place, reason=reason)
    whole = replace(place, kind=kind, form=_real(graph, key), linear=_linear(graph, node, slot, key))
    if kind not in (INT4, INT8_BLOCKS, DYNAMIC):
        return whole
    if kind != DYNAMIC:
        form, obstacle = BLOCKS, _no_product(graph, key, constant.shape, kind)
    elif node.op_type == "LSTM":
        form, obstacle = RECURRENCE, _no_recurrence(graph, node)
    else:
        form, obstacle = PRODUCT, _no_product(graph, key, constant.shape, "int8") or _too_little(graph, constant)
    if obstacle is None:
        return replace(whole, form=form)
    if request.others == FLOAT:
        return replace(place, reason=obstacle)
    return replace(whole, kind=request.others, note=obstacle)


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


def _float(graph: Graph, constant: Constant, request: WeightRequest) -> str | None:
    """Why a weight stays as it is, whatever is asked."""
    if constant.key in graph.fixed:
        return f"its weight is {graph.fixed[constant.key]}"
    if constant.dtype != TensorProto.FLOAT:
        return f"its weight is {dtype_name(constant.dtype)}, not FLOAT"
    if constant.key not in graph.model.tensors:
        where = "in a body of control flow" if constant.scope else "a constant that others read on its way, too"
        return f"its weight is {where}"
    if constant.size < request.least:
        return f"its weight has {constant.size} numbers, fewer than {request.least}"
    return None


def _readers(graph: Graph, key: str) -> Sequence[tuple[Node, int]]:
    return [(graph.nodes[index], slot) for index, slot in graph.consumers[key]]


def _real(graph: Graph, key: str) -> str:
    """The form of a weight that becomes float again."""
    gathered = all(
        node.op_type == "Gather" and not node.domain and slot == 0 and node.attribute("axis", 0) == 0
        for node, slot in _readers(graph, key)
    )
    return ROWS if gathered else WHOLE


def _linear(graph: Graph, node: Node, slot: int, key: str) -> Linear | None:
    """The linear view of a layer at the top level whose weight nobody else reads."""
    if node.scope != 0 or slot != 1 or len(graph.consumers[key]) != 1:
        return None
    return linear_layer(graph, node, shared_bias=True, implied=True)


def _no_product(graph: Graph, key: str, shape: tuple[int, ...], kind: str) -> str | None:
    """Why no product of integers can stand for all readers of a weight."""
    readers, turned = _readers(graph, key), set()
    for node, slot in readers:
        if node.domain or node.op_type not in PRODUCTS:
            also = "" if len(readers) == 1 else ", which reads its weight, too"
            return f"{kind} is for products of matrices, not for {node.op_type}{also}"
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


def _too_little(graph: Graph, constant: Constant) -> str | None:
    """Why a product does not gain from integers."""
    if graph.model.opset() < DYNAMIC_OPSET:
        return f"opset {graph.model.opset()} has no DynamicQuantizeLinear, {DYNAMIC_OPSET} has"
    if constant.size < LEAST_PRODUCT:
        return f"its weight has {constant.size} numbers: a product of integers gains from {LEAST_PRODUCT} on"
    return None


def _no_recurrence(graph: Graph, node: Node) -> str | None:
    """Why DynamicQuantizeLSTM cannot stand for an LSTM."""
    if node.scope != 0:
        return "it is in a body of control flow"
    if node.attribute("layout", 0):
        return "its layout is batch first"
    for key in node.inputs[1:3]:
        constant = _constant(graph, key)
        if constant is None or key in graph.fixed or constant.dtype != TensorProto.FLOAT or constant.scope:
            return "one of its weights is no float constant of its own"
        if len(graph.consumers[key]) != 1:
            return "one of its weights is read by another node, too"
    return None
