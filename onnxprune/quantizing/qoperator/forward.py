"""From quantisers to operators on integers, wherever all that a node reads and gives is rounded."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper

from onnxprune.model.folding import folded
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.grids import Grid, grid_of
from onnxprune.model.integers import MICROSOFT
from onnxprune.model.load import Model
from onnxprune.model.names import bodies, taken
from onnxprune.quantizing.qoperator.table import BIAS, MOVES, OPERATORS, SUFFIX, Operator, takes_bytes
from onnxprune.quantizing.static import weight_axis
from onnxprune.results.wording import of_several, shortened

ROUND, UNDO = "QuantizeLinear", "DequantizeLinear"
CLOSE = 1e-5
"""How far the scale of a bias may be from that of its product, relative to it."""
SHOWN = 3
NO_OPERATOR = "there is no operator on integers for it"


@dataclass(frozen=True)
class Spelled:
    """`left`: nodes that stay between quantisers, and why."""

    model: Model
    left: tuple[tuple[str, str], ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of them, by reason."""
        found: dict[str, list[str]] = {}
        for label, reason in self.left:
            found.setdefault(reason, []).append(label)
        return tuple(
            f"between quantisers {'stays' if len(labels) == 1 else 'stay'} {_few(labels)}: "
            f"{of_several(reason, len(labels))}"
            for reason, labels in found.items()
        )


def with_operators(model: Model) -> Spelled:
    """The quantised model with operators on integers in the place of all nodes that have one."""
    file = _File(build(model))
    made: dict[int, NodeProto] = {}
    gone: set[int] = set()
    left: list[tuple[str, str]] = []
    for node in file.graph.nodes:
        if node.scope or not file.reads_integers(node):
            continue
        found = file.on_integers(node)
        if isinstance(found, str):
            left.append((node.label, found))
            continue
        made[node.index] = found
        gone |= {file.rounders(key)[0].index for key in node.outputs if key}
    return Spelled(_written(file, made, gone), tuple(left))


@dataclass(frozen=True)
class _Undone:
    """A DequantizeLinear."""

    node: Node
    grid: Grid


@dataclass(frozen=True)
class _File:
    graph: Graph
    names: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.names.update(taken(self.graph.model.proto, self.graph.model.tensors))

    @cached_property
    def undone(self) -> Mapping[str, _Undone]:
        """By what it gives."""
        found = ((node, grid_of(self.graph, node)) for node in self.graph.nodes if _is(node, UNDO) and not node.scope)
        return {node.outputs[0]: _Undone(node, grid) for node, grid in found if grid is not None}

    @cached_property
    def opset(self) -> int:
        return self.graph.model.opset()

    def reads_integers(self, node: Node) -> bool:
        """Whether a node computes with floats that were integers, constants apart."""
        undone = [self.undone[key] for key in node.inputs if key in self.undone]
        return not _is(node, ROUND) and any(one.node.inputs[0] not in self.graph.constants for one in undone)

    def rounders(self, key: str) -> list[Node]:
        """The nodes that make integers of a value, if nothing else reads it."""
        readers = [self.graph.nodes[index] for index, _ in self.graph.consumers.get(key, ())]
        plain = all(_is(one, ROUND) and not one.scope for one in readers) and key not in self.graph.fixed
        return readers if plain else []

    def on_integers(self, node: Node) -> NodeProto | str:
        """The operator on integers, or why there is none."""
        operator = OPERATORS.get(node.op_type)
        if node.domain or (operator is None and node.op_type not in MOVES):
            return NO_OPERATOR
        check = MOVES[node.op_type] if operator is None else operator.check
        reason = None if check is None else check(self.graph, node)
        if reason is not None:
            return reason
        grids = []
        for key in filter(None, node.outputs):
            rounders = self.rounders(key)
            if len(rounders) != 1:
                return "its output is read as floats"
            grid = grid_of(self.graph, rounders[0])
            if grid is None or len(rounders[0].inputs) < 3 or grid.axis is not None:
                return "the grid of its output is none of one scale and one zero point"
            if f"{key}{SUFFIX}" in self.names:
                return f"there is another value called {key + SUFFIX!r}"
            grids.append(grid)
        return self._moved(node, grids) if operator is None else self._computed(node, operator, grids[0])

    def _computed(self, node: Node, operator: Operator, grid: Grid) -> NodeProto | str:
        rounder = self.rounders(node.outputs[0])[0]
        names = {"sy": rounder.inputs[1], "zy": rounder.inputs[2]}
        types = []
        slots = operator.slots(len(node.inputs))
        for slot, key in enumerate(node.inputs):
            one = self.undone.get(key)
            if one is None:
                return "it reads floats"
            if f"x{slot}" not in slots:
                if not self._is_bias(node, one):
                    return "its bias is none of 32 bits in the steps of its product"
                names[f"b{slot}"] = one.node.inputs[0]
                continue
            if len(one.node.inputs) < 3 or not self._fits(node, slot, one):
                return "the grid of an input is none that the operator on integers has"
            names |= dict(zip((f"x{slot}", f"s{slot}", f"z{slot}"), one.node.inputs, strict=True))
            types.append(one.grid.dtype)
        if not operator.takes([*types, grid.dtype]):
            return "its types are none that the operator on integers takes"
        inputs = [names.get(slot, "") for slot in slots]
        while not inputs[-1]:
            inputs.pop()
        made = _copy(node, inputs)
        made.op_type, made.domain = operator.name, operator.domain
        kept = [one for one in node.proto.attribute if one.name not in operator.dropped]
        del made.attribute[:]
        made.attribute.extend(kept)
        if operator.opset:
            made.attribute.append(helper.make_attribute("opset", self.opset))
        return made

    def _moved(self, node: Node, grids: list[Grid]) -> NodeProto | str:
        one = self.undone.get(node.inputs[0])
        if one is None or one.node.inputs[0] in self.graph.constants:
            return "it reads floats"
        if not all(_same(one.grid, grid) for grid in grids) or len(one.node.inputs) < 3:
            return "its output is on another grid than its input"
        if not takes_bytes(node.op_type, self.opset, one.grid.dtype):
            return f"it takes no bytes in opset {self.opset}"
        inputs = [one.node.inputs[0], *node.inputs[1:]]
        if node.op_type == "Pad" and node.attribute("mode", "constant") == "constant":
            value = (*node.inputs, "", "")[2]
            if value and not self._is_zero(value):
                return "it pads with something other than 0"
            if len(inputs) > 3 and not value:
                return "it says nothing of what it pads with"
            inputs[2:3] = [one.node.inputs[2]]
        elif any(key in self.undone for key in inputs[1:]):
            return "it reads floats"
        return _copy(node, inputs)

    def _fits(self, node: Node, slot: int, one: _Undone) -> bool:
        """One scale, or for constant factors one for each output."""
        constant = self.graph.constants.get(one.node.inputs[0])
        if one.grid.axis is None:
            return True
        if constant is None or slot != 1 or one.grid.block:
            return False
        rank = len(constant.shape)
        return one.grid.axis % rank == weight_axis(node, rank)

    def _is_bias(self, node: Node, bias: _Undone) -> bool:
        factors = [self.undone.get(key) for key in node.inputs[:BIAS]]
        if bias.node.inputs[0] not in self.graph.constants or bias.grid.dtype != TensorProto.INT32:
            return False
        scales = [one.grid.scale.astype(np.float64) for one in factors if one is not None]
        if len(scales) < BIAS or bias.grid.zero_point.any() or bias.grid.scale.size != scales[1].size:
            return False
        return bool(np.allclose(bias.grid.scale.ravel(), (scales[0] * scales[1]).ravel(), rtol=CLOSE, atol=0))

    def _is_zero(self, key: str) -> bool:
        try:
            return not folded(self.graph, key).any()
        except KeyError:
            return False


# ---- inner -----------------------------------------------------------------------------------------------------
def _is(node: Node, op_type: str) -> bool:
    return node.op_type == op_type and not node.domain


def _few(labels: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(labels) - SHOWN} more" if len(labels) > SHOWN else ""
    return ", ".join(map(shortened, labels[:SHOWN])) + more


def _same(one: Grid, other: Grid) -> bool:
    """Of grids of one scale."""
    both = one.axis is None and other.axis is None and one.dtype == other.dtype
    return both and bool(one.scale == other.scale) and bool(one.zero_point == other.zero_point)


def _copy(node: Node, inputs: list[str]) -> NodeProto:
    """With the name, the documentation and the attributes of the node."""
    made = NodeProto()
    made.CopyFrom(node.proto)
    made.input[:] = inputs
    made.output[:] = [f"{key}{SUFFIX}" if key else "" for key in node.outputs]
    return made


def _written(file: _File, made: Mapping[int, NodeProto], gone: Collection[int]) -> Model:
    """The file with these nodes in the place of others, and without the quantisers that are gone or that nobody reads;
    nodes at the top level are numbered in their order."""
    graph, proto = file.graph, onnx.ModelProto()
    proto.CopyFrom(graph.model.proto)
    new = {graph.nodes[index].outputs[0]: f"{graph.nodes[index].inputs[0]}{SUFFIX}" for index in gone}
    places = [node for node in graph.nodes if node.scope == 0]
    nodes = [
        made.get(node.index, copy)
        for node, copy in zip(places, proto.graph.node, strict=True)
        if node.index not in gone
    ]
    nodes = [_renamed(node, new) for node in nodes]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    read = _read(proto)
    left = [node for node in proto.graph.node if node.op_type != UNDO or node.domain or node.output[0] in read]
    del proto.graph.node[:]
    proto.graph.node.extend(left)
    if any(node.domain == MICROSOFT for node in left) and all(one.domain != MICROSOFT for one in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    read = _read(proto)
    there = read | {key for node in left for key in node.output}
    described = [value for value in proto.graph.value_info if value.name in there]
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(described)
    before = _read(graph.model.proto)
    tensors = {name: one for name, one in graph.model.tensors.items() if name in read or name not in before}
    return graph.model.replace(proto, tensors)


def _renamed(node: NodeProto, new: Mapping[str, str]) -> NodeProto:
    result = NodeProto()
    result.CopyFrom(node)
    result.input[:] = [new.get(key, key) for key in node.input]
    return result


def _read(proto: onnx.ModelProto) -> set[str]:
    """What nodes read, be it in bodies, and what graphs give."""
    found = set[str]()
    for graph in bodies(proto.graph):
        found.update(key for node in graph.node for key in node.input)
        found.update(value.name for value in graph.output)
    return found
