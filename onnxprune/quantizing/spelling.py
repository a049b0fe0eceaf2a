"""The same computation, spelled so that ONNX Runtime takes its faster kernels.

Once products are in int8, what is around them decides. Measured (one thread, 128 positions of width 384, release 1.32):

- A sum before a LayerNormalization is fused with it into SkipLayerNormalization, which takes 8 times as long as both
  apart: 27 % of a transformer in int8. `Sum` gives what `Add` gives, and is not fused.
- GELU as x * (0.5 * (1 + erf(x / sqrt 2))) stays five operators; as (x * (1 + erf(x / sqrt 2))) * 0.5 it becomes one.
  Halving is exact, so the order does not matter.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import NodeProto

from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.tensors import FLOATS

LEAST_OPSET = 8
"""`Sum` broadcasts since then."""


def respelled(model: Model, dtypes: Mapping[str, int]) -> Model:
    """`model` with these operators and operands in other places; values keep their names, but for those inside of a
    GELU. `dtypes`: the element types of its values: `Sum` has none for integers."""
    if model.opset() < LEAST_OPSET:
        return model
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = build(Model(proto, model.tensors))
    found = 0
    for node in graph.nodes:
        if node.op_type == "Add" and not node.domain and _normalised(graph, node, dtypes):
            node.proto.op_type = "Sum"
            found += 1
        elif node.op_type == "Mul" and not node.domain:
            found += _halved_last(graph, node)
    return model.replace(proto, model.tensors) if found else model


# ---- inner -----------------------------------------------------------------------------------------------------
def _normalised(graph: Graph, node: Node, dtypes: Mapping[str, int]) -> bool:
    """Whether a layer normalisation, as one operator or spelled out, reads a sum of two computed values."""
    key = node.outputs[0]
    if any(one in graph.constants for one in node.inputs) or dtypes.get(key) not in FLOATS:
        return False
    readers = [(graph.nodes[index], slot) for index, slot in graph.consumers.get(key, ())]
    if any(reader.op_type == "LayerNormalization" and slot == 0 for reader, slot in readers):
        return True
    means = {reader.outputs[0] for reader, slot in readers if reader.op_type == "ReduceMean" and slot == 0}
    return any(reader.op_type == "Sub" and slot == 0 and reader.inputs[1] in means for reader, slot in readers)


def _halved_last(graph: Graph, last: Node) -> bool:
    """x * (0.5 * (1 + erf)) as (x * (1 + erf)) * 0.5; whether it was one."""
    for slot in (0, 1):
        inner = _only(graph, last.inputs[slot], "Mul")
        if inner is None or inner.scope != last.scope:
            continue
        for half in (0, 1):
            x, grown = last.inputs[1 - slot], inner.inputs[1 - half]
            if _is(graph, inner.inputs[half], 0.5) and _is_grown_erf(graph, grown, x):
                names = last.proto.input[1 - slot], inner.proto.input[1 - half], inner.proto.input[half]
                _set(inner.proto, names[0], names[1])
                _set(last.proto, inner.proto.output[0], names[2])
                return True
    return False


def _is_grown_erf(graph: Graph, key: str, x: str) -> bool:
    """Whether `key` is 1 + erf(x / sqrt 2), which nobody else reads."""
    add = _only(graph, key, "Add")
    if add is None:
        return False
    for slot in (0, 1):
        erf = _only(graph, add.inputs[slot], "Erf")
        if erf is not None and _is(graph, add.inputs[1 - slot], 1.0):
            inside = _only(graph, erf.inputs[0], "Div") or _only(graph, erf.inputs[0], "Mul")
            return inside is not None and x in inside.inputs
    return False


def _only(graph: Graph, key: str, op_type: str) -> Node | None:
    """The node that gives `key`, if it is of this type and its value has one reader."""
    index = graph.producer.get(key)
    if index is None or key in graph.fixed or len(graph.consumers.get(key, ())) != 1:
        return None
    node = graph.nodes[index]
    return node if node.op_type == op_type and not node.domain else None


def _is(graph: Graph, key: str, value: float) -> bool:
    """Whether a key is a constant of one number, this one."""
    constant = graph.constants.get(key)
    return constant is not None and constant.size == 1 and float(np.ravel(constant.array())[0]) == value


def _set(proto: NodeProto, *inputs: str) -> None:
    del proto.input[:]
    proto.input.extend(inputs)
