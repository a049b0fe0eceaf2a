"""Networks that round activations in every run anew, without that rounding: continuous, so that two can be compared.

    DynamicQuantizeLinear(x) = (round(x / s) + z, s, z)  ->  (x / s + z, s, z)

What reads the first output computes with floats then: MatMulInteger (A - a)(B - b), ConvInteger likewise,
DequantizeLinear (y - z) s, MatMulIntegerToFloat, and DynamicQuantizeMatMul, which rounds by itself.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.load import Model
from onnxprune.model.names import bodies, fresh, taken

Rewritten = Callable[[NodeProto, set[str]], list[NodeProto]]
QUANTISER = "DynamicQuantizeLinear"
ROUND = frozenset({QUANTISER, "DynamicQuantizeMatMul"})


def without_rounding(model: Model) -> Model:
    """The model with this put in place; values keep their names, and become floats."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    names = taken(proto, model.tensors)
    open_values = _open(proto)
    if not any(node.op_type in ROUND for node in proto.graph.node):
        return model
    nodes: list[NodeProto] = []
    changed: set[str] = set()
    for node in proto.graph.node:
        concerned = node.op_type in ROUND or not open_values.isdisjoint(node.input[:1])
        rule = _RULES.get(node.op_type) if concerned else None
        nodes += [node] if rule is None else rule(node, names)
        changed.update(node.output[:1] if rule is not None else ())
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    recorded = [value for value in proto.graph.value_info if value.name not in changed]  # they were integers
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(recorded)
    return model.replace(proto, model.tensors)


def is_understood(model: Model) -> bool:
    """Whether all that reads integers of DynamicQuantizeLinear is among what is rewritten, at the top level."""
    graph = model.proto.graph
    values = _open(model.proto)
    shown = values & {value.name for value in graph.output}
    if shown or any(node.op_type in ROUND for body in bodies(graph) if body is not graph for node in body.node):
        return False
    return all(
        node.op_type in _RULES and values.isdisjoint(node.input[1:])
        for body in bodies(graph)
        for node in body.node
        if not values.isdisjoint(node.input)
    )


def _open(proto: onnx.ModelProto) -> set[str]:
    return {node.output[0] for node in proto.graph.node if node.op_type == QUANTISER}


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


def _convolution(node: NodeProto, names: set[str]) -> list[NodeProto]:
    before: list[NodeProto] = []
    factors = [_less(node, slot, slot + 2, before, names) for slot in (0, 1)]
    made = helper.make_node("Conv", factors, [node.output[0]])
    made.attribute.extend(node.attribute)
    return [*before, made]


def _scaled_product(node: NodeProto, names: set[str]) -> list[NodeProto]:
    """MatMulIntegerToFloat: A, B, their scales, their zero points, a bias."""
    before: list[NodeProto] = []
    factors = [_times(node, slot, slot + 2, slot + 4, before, names) for slot in (0, 1)]
    return [*before, *_biased(node, factors, 6, names)]


def _dynamic_product(node: NodeProto, names: set[str]) -> list[NodeProto]:
    """DynamicQuantizeMatMul: A of floats, B, its scale, its zero point, a bias."""
    before: list[NodeProto] = []
    weight = _times(node, 1, 2, 3, before, names)
    return [*before, *_biased(node, [node.input[0], weight], 4, names)]


def _back(node: NodeProto, names: set[str]) -> list[NodeProto]:
    before: list[NodeProto] = []
    moved = _less(node, 0, 2, before, names)
    return [*before, helper.make_node("Mul", [moved, node.input[1]], [node.output[0]])]


def _times(node: NodeProto, slot: int, scale: int, zero: int, before: list[NodeProto], names: set[str]) -> str:
    """An input less its zero point, times its scale."""
    moved, value = _less(node, slot, zero, before, names), fresh(f"{node.output[0]}.{slot}.real", names)
    before.append(helper.make_node("Mul", [moved, node.input[scale]], [value]))
    return value


def _biased(node: NodeProto, factors: list[str], bias: int, names: set[str]) -> list[NodeProto]:
    """The product, and the sum with a bias where the node has one."""
    if len(node.input) <= bias or not node.input[bias]:
        return [helper.make_node("MatMul", factors, [node.output[0]])]
    product = fresh(f"{node.output[0]}.product", names)
    total = helper.make_node("Add", [product, node.input[bias]], [node.output[0]])
    return [helper.make_node("MatMul", factors, [product]), total]


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


_RULES: dict[str, Rewritten] = {
    QUANTISER: _quantiser,
    "ConvInteger": _convolution,
    "DequantizeLinear": _back,
    "DynamicQuantizeMatMul": _dynamic_product,
    "MatMulInteger": _product,
    "MatMulIntegerToFloat": _scaled_product,
}
