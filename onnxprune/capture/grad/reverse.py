"""Reverse-mode differentiation of a list of ONNX nodes: the chain rule from the loss back to the weights.

The backward pass is written as ONNX nodes, so any runtime that runs the model can compute its gradients.
Griewank & Walther, Evaluating Derivatives, 2008, chapter 3.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxprune.capture.grad import registry
from onnxprune.capture.grad.builder import Builder, Shape, Value
from onnxprune.capture.grad.call import Call, Known, NoRule
from onnxprune.model.structure import graphs_of
from onnxprune.model.tensors import FLOATS


@dataclass(frozen=True)
class Gradient:
    """The backward pass: append `nodes` after the forward ones and add `constants` to the initializers.

    `names` maps each weight to the value that holds dL/dweight, of the weight's shape. `frozen` maps the others to
    the reason why they have no gradient.
    """

    nodes: list[NodeProto]
    constants: list[TensorProto]
    names: dict[str, str]
    frozen: dict[str, str]


def differentiate(
    nodes: Sequence[NodeProto],
    loss: str,
    wrt: Sequence[str],
    shapes: Mapping[str, Shape],
    constants: Mapping[str, NDArray[Any]],
    opset: int,
    types: Mapping[str, int] | None = None,
    *,
    taken: Sequence[NodeProto] = (),
    stopping: bool = False,
    native: bool = False,
) -> Gradient:
    """Gradients of the scalar `loss` with respect to the values `wrt`.

    `nodes` are in topological order. `shapes` holds the concrete shape of every value on the way, `constants` the small
    ones that rules need to know (axes, pads, bounds, exponents), `types` the element types of values that are not
    float32. The gradient of integers, to which QuantizeLinear rounds, is float32. A call without a rule freezes
    everything that reaches the loss through it or, if `stopping`, only what reaches it in no other way: its inputs
    count as constants then (stop-gradient), which makes gradients those of the parts of the loss before it. `taken` are
    other nodes of the model, whose names the backward pass must not use. `native`: see `Builder`.
    """
    known = Known(shapes, types or {}, constants, opset)
    sweep = _Sweep(known, Builder(opset, _prefix([*nodes, *taken], wrt), native), stopping)
    active = _active(nodes, wrt, known)
    sweep.run(nodes, loss, active)
    names, frozen = {}, {}
    for name in wrt:
        if name in sweep.partial and (stopping or name not in sweep.blocked):
            names[name] = sweep.total(name).name
        else:
            frozen[name] = sweep.blocked.get(name, "the loss does not depend on it")
    kept = _needed(sweep.at.nodes, set(names.values()))
    read = {name for node in kept for name in node.input} | set(names.values())
    used = [tensor for name, tensor in sweep.at.constants.items() if name in read]
    return Gradient(kept, used, names, frozen)


@dataclass
class _Sweep:
    known: Known
    at: Builder
    stopping: bool
    partial: dict[str, list[Value]] = field(default_factory=dict)
    blocked: dict[str, str] = field(default_factory=dict)

    def run(self, nodes: Sequence[NodeProto], loss: str, active: set[str]) -> None:
        dtype = self.known.types.get(loss, TensorProto.FLOAT)
        self.partial[loss] = [self.at.constant(np.ones(self.known.shapes[loss]), dtype)]
        for node in reversed(nodes):
            inputs = [name for name in _reads(node) if name in active]
            if not inputs or not any(name in self.partial or name in self.blocked for name in node.output if name):
                continue
            reason = next((self.blocked[name] for name in node.output if name in self.blocked), None)
            if self.stopping and any(name in self.partial for name in node.output):
                reason = None
            if reason is None and _flat(node):
                continue
            reason = reason or self._visit(node, active)
            if reason:
                for name in inputs:
                    self.blocked.setdefault(name, reason)

    def _visit(self, node: NodeProto, active: set[str]) -> str | None:
        """Let the rule of the node write its backward nodes; the reason if it cannot."""
        domain = "" if node.domain == "ai.onnx" else node.domain
        label = f"{node.op_type} '{node.name or node.output[0]}'"
        rule = registry.find(domain, node.op_type)
        if rule is None:
            return f"{label}: operator {domain or 'ai.onnx'}:{node.op_type} has no gradient rule"
        incoming = [self.total(name) if name in self.partial else None for name in node.output]
        wanted = {slot for slot, name in enumerate(node.input) if name in active}
        call = Call(node, self.at, self.known, incoming, wanted)
        try:
            rule(call)
            for output, found in enumerate(incoming):
                if found is not None and output not in call.read:
                    raise NoRule(f"its output {output} takes part in the loss")
            for slot in sorted(wanted - set(call.given)):
                raise NoRule(f"has no rule for its input {slot} ('{node.input[slot]}')")
        except NoRule as error:
            return f"{label}: {error}"
        for slot in sorted(wanted):
            self.partial.setdefault(node.input[slot], []).append(call.given[slot])
        return None

    def total(self, name: str) -> Value:
        """The sum of the gradients that arrived from all uses of a value."""
        parts = self.partial[name]
        if len(parts) > 1:
            first = parts[0]
            operator = "Add" if len(parts) == 2 else "Sum"
            self.partial[name] = [self.at.node(operator, parts, first.shape, first.dtype)]
        return self.partial[name][0]


def _flat(node: NodeProto) -> bool:
    """True if the outputs do not vary with the inputs, almost everywhere."""
    domain = "" if node.domain == "ai.onnx" else node.domain
    if domain == "" and node.op_type == "Cast":
        return any(a.name == "to" and a.i not in FLOATS for a in node.attribute)
    return registry.known(domain, node.op_type) and registry.find(domain, node.op_type) is None


def _reads(node: NodeProto) -> Iterable[str]:
    """Names of the values that a node reads, those captured by its bodies included."""
    yield from (name for name in node.input if name)
    for body in graphs_of(node):
        for inner in body.node:
            yield from _reads(inner)
        yield from (value.name for value in body.output)


def _active(nodes: Sequence[NodeProto], wrt: Sequence[str], known: Known) -> set[str]:
    """Values that vary with one of `wrt`. Outputs of operators without a rule count, whatever their type; integers of
    others where they are rounded numbers, or come from such of their type (moved, joined, the largest of them).
    """
    active, rounded = set(wrt), set[str]()
    for node in nodes:
        if _flat(node) or not any(name in active for name in _reads(node)):
            continue
        operator = "" if node.domain == "ai.onnx" else node.domain, node.op_type
        ruled, carried = registry.known(*operator), {known.type(name) for name in node.input if name in rounded}
        for name in node.output:
            if not name:
                continue
            whole = ruled and known.type(name) not in FLOATS
            if whole and not registry.rounds(*operator) and known.type(name) not in carried:
                continue
            active.add(name)
            if whole:
                rounded.add(name)
    return active


def _needed(nodes: Sequence[NodeProto], wanted: set[str]) -> list[NodeProto]:
    """The nodes on which `wanted` depends, in order."""
    kept, missing = [], set(wanted)
    for node in reversed(nodes):
        if missing.intersection(node.output):
            missing.update(node.input)
            kept.append(node)
    return kept[::-1]


def _prefix(nodes: Sequence[NodeProto], wrt: Sequence[str]) -> str:
    """A beginning of names that no value or node of the model has."""
    taken = {*wrt, *(n for node in nodes for n in (node.name, *node.input, *node.output))}
    prefix = "gradient_"
    while any(name.startswith(prefix) for name in taken):
        prefix += "_"
    return prefix
