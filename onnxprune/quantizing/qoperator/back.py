"""From operators on integers back to quantisers, so that the proof of grids reads a file of either form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper

from onnxprune.errors import VerificationError
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.qoperator.table import FLOATS, MOVES, OPERATORS, SUFFIX, Operator
from onnxprune.quantizing.static import weight_axis

ROUND, UNDO = "QuantizeLinear", "DequantizeLinear"
PADDED = 2
Pair = tuple[str, str]
"""The names of a scale and a zero point."""


def with_quantisers(model: Model) -> Model:
    """The file with every operator on integers as one of floats between quantisers; integers keep their names.

    Raises VerificationError for operators that are none of the table's in full.
    """
    graph = build(model)
    back = _Back(graph, taken(model.proto, model.tensors), dict(model.tensors))
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    nodes: list[NodeProto] = []
    places = [node for node in graph.nodes if node.scope == 0]
    for node, copy in zip(places, proto.graph.node, strict=True):
        nodes += back.written(node, copy)
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    result.graph.node.extend(nodes)
    return model.replace(result, back.tensors)


@dataclass
class _Back:
    """`grids`: by value that nodes give, the grid on which it is."""

    graph: Graph
    names: set[str]
    tensors: dict[str, LazyTensor]
    grids: dict[str, Pair] = field(default_factory=dict)

    def written(self, node: Node, copy: NodeProto) -> list[NodeProto]:
        """The nodes in the place of one, at the top level."""
        name = FLOATS.get((node.domain, node.op_type))
        if name is not None:
            return self._computed(node, copy, name, OPERATORS[name])
        if not node.domain and node.op_type in MOVES and node.inputs[0] in self.grids:
            return self._moved(node, copy)
        if not node.domain and node.op_type == ROUND and len(node.inputs) > 2:
            self.grids[node.outputs[0]] = node.inputs[1], node.inputs[2]
        return [copy]

    def _computed(self, node: Node, copy: NodeProto, name: str, operator: Operator) -> list[NodeProto]:
        count = operator.count(len(node.inputs))
        slots = operator.slots(count)
        given = dict(zip(slots, node.inputs, strict=False))
        wanted = [slot for slot in slots if slot[0] != "b"]
        if len(node.inputs) > len(slots) or not all(given.get(slot) for slot in wanted):
            raise VerificationError(f"node {node.label!r} has not the inputs of {operator.name}")
        made = NodeProto()
        made.CopyFrom(copy)
        made.op_type, made.domain = name, ""
        if operator.opset:
            self._same_opset(node)
            kept = [one for one in made.attribute if one.name != "opset"]
            del made.attribute[:]
            made.attribute.extend(kept)
        nodes: list[NodeProto] = []
        inputs: list[str] = []
        for slot in range(count):
            if f"x{slot}" in given:
                parts = [given[f"{kind}{slot}"] for kind in "xsz"]
                inputs.append(self._undone(parts, self._axis(made, slot, parts), nodes))
            elif given.get(f"b{slot}"):
                inputs.append(self._bias(node, given, f"b{slot}", nodes))
        made.input[:] = inputs
        return [*nodes, made, *self._rounded(made, (given["sy"], given["zy"]))]

    def _moved(self, node: Node, copy: NodeProto) -> list[NodeProto]:
        pair = self.grids[node.inputs[0]]
        nodes: list[NodeProto] = []
        made = NodeProto()
        made.CopyFrom(copy)
        made.input[0] = self._undone([node.inputs[0], *pair], None, nodes)
        if node.op_type == "Pad" and len(node.inputs) > PADDED and node.inputs[PADDED]:
            value, zero = self._array(node, node.inputs[PADDED]), self._array(node, pair[1])
            if value.size != 1 or value.dtype != zero.dtype or value.ravel()[0] != zero.ravel()[0]:
                raise VerificationError(f"node {node.label!r} pads with something other than 0")
            made.input[PADDED] = self._stored(f"{node.outputs[0]}.zero", np.zeros((), np.float32))
        return [*nodes, made, *self._rounded(made, pair)]

    def _undone(self, parts: Sequence[str], axis: int | None, nodes: list[NodeProto]) -> str:
        """A DequantizeLinear, and what it gives."""
        name = fresh(f"{parts[0]}.floats", self.names)
        made = helper.make_node(UNDO, list(parts), [name])
        if axis is not None:
            made.attribute.append(helper.make_attribute("axis", axis))
        nodes.append(made)
        return name

    def _rounded(self, made: NodeProto, pair: Pair) -> list[NodeProto]:
        """QuantizeLinear behind the outputs of a node, whose names are now those of integers."""
        nodes = []
        for slot, integers in enumerate(made.output):
            if integers:
                plain = integers.removesuffix(SUFFIX)
                value = fresh(plain if plain != integers else f"{integers}.value", self.names)
                made.output[slot] = value
                self.grids[integers] = pair
                nodes.append(helper.make_node(ROUND, [value, *pair], [integers]))
        return nodes

    def _axis(self, made: NodeProto, slot: int, parts: Sequence[str]) -> int | None:
        """Of the scales of a constant factor; None where there is one."""
        constant, scale = self.graph.constants.get(parts[0]), self.graph.constants.get(parts[1])
        if slot != 1 or constant is None or scale is None or scale.size == 1:
            return None
        plain = Node(-1, made, 0, tuple(made.input), tuple(made.output))
        return weight_axis(plain, len(constant.shape))

    def _bias(self, node: Node, given: Mapping[str, str], slot: str, nodes: list[NodeProto]) -> str:
        """Kernels add it as it is: one step of it is one of the product."""
        step, steps = (self._array(node, given[key]).astype(np.float32) for key in ("s0", "s1"))
        if step.size != 1:
            raise VerificationError(f"the input of node {node.label!r} has several scales")
        scale = np.asarray(step.reshape(()) * steps, np.float32)
        scale = scale.reshape(()) if scale.size == 1 else scale
        name = self._stored(f"{given[slot]}.scale", scale)
        return self._undone([given[slot], name], None if scale.ndim == 0 else 0, nodes)

    def _stored(self, wanted: str, array: NDArray[np.float32]) -> str:
        name = fresh(wanted, self.names)
        self.tensors[name] = LazyTensor.from_array(name, array)
        return name

    def _array(self, node: Node, key: str) -> NDArray[np.generic]:
        constant = self.graph.constants.get(key)
        if constant is None:
            raise VerificationError(f"{key!r}, which node {node.label!r} reads, is no constant")
        return constant.array()

    def _same_opset(self, node: Node) -> None:
        said, opset = node.attribute("opset", 0), self.graph.model.opset()
        if said != opset:
            raise VerificationError(f"node {node.label!r} is of opset {said}, the file of {opset}")
