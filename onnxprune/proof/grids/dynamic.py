"""Networks that round activations in every run anew, without that rounding: continuous, so that two can be compared.

    DynamicQuantizeLinear(x) = (round(x / s) + z, s, z)  ->  (x / s + z, s, z)

What reads the first output computes with floats then: MatMulInteger (A - a)(B - b), DequantizeLinear (y - z) s.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken

Rewritten = Callable[[NodeProto, set[str]], list[NodeProto]]
QUANTISER = "DynamicQuantizeLinear"


def without_rounding(model: Model) -> Model:
    """The model with this put in place; values keep their names, and become floats."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    names = taken(proto, model.tensors)
    open_values = {node.output[0] for node in proto.graph.node if node.op_type == QUANTISER}
    if not open_values:
        return model
    nodes: list[NodeProto] = []
    for node in proto.graph.node:
        concerned = node.op_type == QUANTISER or (node.input and node.input[0] in open_values)
        rule = _RULES.get(node.op_type) if concerned else None
        nodes += [node] if rule is None else rule(node, names)
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return model.replace(proto, model.tensors)


def _quantiser(node: NodeProto, names: set[str]) -> list[NodeProto]:
    y, scale, zero = node.output
    rounded, steps, moved = (fresh(f"{y}.{part}", names) for part in ("rounded", "steps", "moved"))
    copy = NodeProto()
    copy.CopyFrom(node)
    copy.output[0] = rounded
    return [
        copy,
        helper.make_node("Div", [node.input[0], scale], [steps]),
        helper.make_node("Cast", [zero], [moved], to=TensorProto.FLOAT),
        helper.make_node("Add", [steps, moved], [y]),
    ]


def _product(node: NodeProto, names: set[str]) -> list[NodeProto]:
    before: list[NodeProto] = []
    factors = [_less(node, slot, slot + 2, before, names) for slot in (0, 1)]
    return [*before, helper.make_node("MatMul", factors, [node.output[0]])]


def _back(node: NodeProto, names: set[str]) -> list[NodeProto]:
    before: list[NodeProto] = []
    moved = _less(node, 0, 2, before, names)
    return [*before, helper.make_node("Mul", [moved, node.input[1]], [node.output[0]])]


def _less(node: NodeProto, slot: int, zero: int, before: list[NodeProto], names: set[str]) -> str:
    """An input less its zero point, as a float."""
    value = fresh(f"{node.output[0]}.{slot}", names)
    before.append(helper.make_node("Cast", [node.input[slot]], [value], to=TensorProto.FLOAT))
    if len(node.input) <= zero or not node.input[zero]:
        return value
    moved, less = fresh(f"{value}.zero", names), fresh(f"{value}.less", names)
    before.append(helper.make_node("Cast", [node.input[zero]], [moved], to=TensorProto.FLOAT))
    before.append(helper.make_node("Sub", [value, moved], [less]))
    return less


_RULES: dict[str, Rewritten] = {QUANTISER: _quantiser, "MatMulInteger": _product, "DequantizeLinear": _back}
