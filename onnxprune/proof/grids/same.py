"""Without its quantisers a file must be the prepared original: the same nodes, with the values of its own weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import AttributeProto

from onnxprune.errors import VerificationError
from onnxprune.model.folding import folded
from onnxprune.model.graph import Graph, Node
from onnxprune.model.tensors import LazyTensor
from onnxprune.proof.grids.stored import Stored, digest
from onnxprune.results.plan import QuantizationPlan

RECTIFIERS = frozenset({"Relu", "Clip"})
QUANTISERS = frozenset({"QuantizeLinear", "DequantizeLinear"})
PADDED = 2
"""The input of Pad that says with what."""


@dataclass(frozen=True)
class Same:
    """`tensors`: initializers of the prepared original with the values that the file has for them; `moved`: by weight,
    how far the file's is from the original's, in steps of its grid at most."""

    tensors: Mapping[str, LazyTensor]
    moved: Mapping[str, float]


def same_network(original: Graph, result: Graph, found: Stored, plan: QuantizationPlan) -> Same:
    """Raises VerificationError where nodes differ, or weights are on other grids than the plan says."""
    made = {node.outputs[0]: node for node in result.nodes if node.op_type not in QUANTISERS and node.outputs}
    names = dict(found.rounded)
    hidden = {_source(result, value, found): value for value in found.values}
    weights: dict[str, str] = {}
    count = 0
    for node in original.nodes:
        if not node.outputs:
            continue
        if node.op_type in RECTIFIERS and _absorbed(original, node, made, hidden):
            continue
        key = _given(original, node, made, hidden)
        other = None if key is None else made.get(key)
        if other is None:
            raise VerificationError(f"node {node.label!r} of the original is missing")
        count += 1
        _same_node(node, other)
        before, after = node.inputs, other.inputs
        if len(before) != len(after):
            before, after = _without_zero(original, node), _without_zero(result, other)
        if len(before) != len(after):
            raise VerificationError(f"node {node.label!r} has {len(after)} inputs, {len(before)} before")
        for wanted, there in zip(before, after, strict=True):
            _same_input(original, node, wanted, names.get(there, there), weights)
    if count != len(made):
        raise VerificationError(f"the file has {len(made)} nodes besides its quantisers, {count} were expected")
    return _values(original, result, found, weights, plan)


def counterparts(original: Graph, result: Graph, found: Stored) -> list[tuple[Node, Node]]:
    """Nodes of the original with what is in their place in the file, as far as there is something."""
    made = {node.outputs[0]: node for node in result.nodes if node.op_type not in QUANTISERS and node.outputs}
    hidden = {_source(result, value, found): value for value in found.values}
    pairs = [(node, _given(original, node, made, hidden)) for node in original.nodes if node.outputs]
    return [(node, made[key]) for node, key in pairs if key is not None]


def _source(result: Graph, value: str, found: Stored) -> str:
    """What the quantiser of a value reads in the file."""
    return result.nodes[result.producer[found.integers[value]]].inputs[0]


def _absorbed(original: Graph, node: Node, made: Mapping[str, Node], hidden: Mapping[str, str]) -> bool:
    """Whether a rectifier is gone: another kind of node makes its output, or that of the rectifiers behind it."""
    there = _made(node.outputs[0], made, hidden)
    if there is not None:
        return there.op_type != node.op_type
    key = _given(original, node, made, hidden)
    return key is not None and made[key].op_type not in RECTIFIERS


def _made(key: str, made: Mapping[str, Node], hidden: Mapping[str, str]) -> Node | None:
    if key in made:
        return made[key]
    return next((made[source] for source, value in hidden.items() if value == key and source in made), None)


def _given(original: Graph, node: Node, made: Mapping[str, Node], hidden: Mapping[str, str]) -> str | None:
    """The output of the node in the file: its own, that of the rectifier behind it, or what a quantiser reads."""
    key = node.outputs[0]
    for _ in range(len(original.nodes)):
        there = _made(key, made, hidden)
        if there is not None:
            return there.outputs[0]
        readers = original.consumers.get(key, ())
        behind = original.nodes[readers[0][0]] if len(readers) == 1 else None
        if behind is None or behind.op_type not in RECTIFIERS:
            return None
        key = behind.outputs[0]
    return None


def _without_zero(graph: Graph, node: Node) -> tuple[str, ...]:
    """The inputs without a zero to pad with: where nothing is said, that is it."""
    said = node.inputs[PADDED] if node.op_type == "Pad" and not node.domain and len(node.inputs) == PADDED + 1 else ""
    zero = said in graph.constants and not graph.constants[said].array().any()
    return node.inputs[:PADDED] if zero else node.inputs


def _same_node(node: Node, other: Node) -> None:
    if (node.op_type, node.domain) != (other.op_type, other.domain):
        raise VerificationError(f"node {node.label!r} is {other.op_type} in the file, {node.op_type} in the original")
    if _attributes(node) != _attributes(other):
        raise VerificationError(f"the attributes of node {node.label!r} are not those of the original")


def _attributes(node: Node) -> list[bytes]:
    kept: list[AttributeProto] = [one for one in node.proto.attribute if not (one.name == "beta" and one.f == 1.0)]
    return sorted(one.SerializeToString(deterministic=True) for one in kept)


def _same_input(original: Graph, node: Node, wanted: str, there: str, weights: dict[str, str]) -> None:
    constant = wanted in original.constants
    if not constant and wanted != there:
        raise VerificationError(f"node {node.label!r} reads {there!r} in the file, {wanted!r} in the original")
    if constant and wanted and weights.setdefault(wanted, there) != there:
        weights[wanted] = there  # a bias that two layers share has a grid for each of them


def _values(original: Graph, result: Graph, found: Stored, weights: Mapping[str, str], plan: QuantizationPlan) -> Same:
    planned = {one.weight: one for one in plan.weights}
    tensors, moved = {}, {}
    for name, there in weights.items():
        if name not in original.model.tensors:
            continue
        tensor = original.model.tensors[name]
        grid = found.weights.get(there)
        one = planned.pop(name, None)
        if grid is None:
            if one is not None:
                raise VerificationError(f"weight {name!r} is not stored as integers, and the plan says so")
            if there in result.constants and not np.array_equal(result.constants[there].array(), tensor.array()):
                tensors[name] = tensor.with_array(result.constants[there].array())
            continue
        if one is not None and (one.axis, one.block, one.digest) != (grid.axis, grid.block, digest(grid)):
            raise VerificationError(f"the scales of weight {name!r} are not those of the plan")
        array = folded(result, there).astype(np.float32)
        if array.shape != tuple(tensor.shape):
            raise VerificationError(f"weight {name!r} has shape {list(array.shape)}, {list(tensor.shape)} before")
        tensors[name] = tensor.with_array(array)
        moved[name] = float(np.max(grid.distance(array, tensor.array()), initial=0.0))
    if planned:
        raise VerificationError(f"weight {next(iter(planned))!r} is not stored as integers, and the plan says so")
    return Same(tensors, moved)
