"""One pass of the rules over the nodes, repeated while a choice turns out badly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import onnxprune.trace.ops  # noqa: F401  (registers the rules)
from onnxprune.model.borders import Scopes
from onnxprune.model.calls import key_of
from onnxprune.model.graph import Border, Graph, Node
from onnxprune.model.infer import Facts
from onnxprune.native.marks import DOMAIN
from onnxprune.trace.ops.context import Choice, NotUnderstood, Op, State
from onnxprune.trace.ops.registry import find

MAX_PASSES = 6
OLDEST_OPSET = 7
"""Before it, broadcasting was an attribute."""
STORED_SPARSE = "it is an operator of onnxprune; shrink the dense model, and make weights sparse after that"


def run(graph: Graph, facts: Facts, *, prefer_outer: bool = False) -> State:
    """Trace until every choice carries indices that may go, or its options are used up."""
    choices: dict[int, int] = {}
    shared = _shared(graph)
    passes = 0
    while True:
        state = State(graph, facts, dict(choices), prefer_outer, shared_keys=shared)
        scopes = Scopes(graph)
        for node in graph.nodes:
            for index in scopes.entered(node):
                _open(state, graph.borders[index])
            _visit(state, node)
        for key, reason in graph.fixed.items():
            for labels in () if key in state.crossing else state.axes.get(key, ()):
                state.pin(labels, f"it belongs to {reason}", graph.producer.get(key, -1))
        failed = [c for c in _pinned_choices(state) if c.taken + 1 < c.options]
        if not failed or passes == MAX_PASSES:
            return state
        passes += 1
        for choice in failed:
            choices[choice.node] = choice.taken + 1


def _open(state: State, border: Border) -> None:
    """Whatever enters the body of a loop has indices of its own; the rule of the loop ties them to those outside."""
    for key in border.inputs:
        shape = state.facts.shapes.get(key)
        if shape is not None:
            state.axes[key] = [None if size is None or size <= 1 else state.atoms.fresh(size) for size in shape]


def _visit(state: State, node: Node) -> None:
    if node.op_type == "Constant" and node.domain == "":
        return
    if node.outputs and all(key in state.facts.values for key in node.outputs if key):
        return  # arithmetic on sizes: recomputed, not cut
    rule = find(node.domain, node.op_type)
    op = Op(state, node)
    try:
        if rule is None:
            raise NotUnderstood(STORED_SPARSE if node.domain == DOMAIN else _as_function(state.graph, node))
        if not node.domain and op.opset < OLDEST_OPSET:
            raise NotUnderstood(f"operator set {op.opset} is older than {OLDEST_OPSET}")
        rule(op)
        _check(op)
    except NotUnderstood as refusal:
        name = f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        reason = f"{name} is refused: {refusal}" if str(refusal) else f"{name} is not an operator with a rule"
        _refuse(op, reason)


def _as_function(graph: Graph, node: Node) -> str:
    """Why a function of the model is a call still; nothing to say of other operators."""
    calls = graph.model.calls
    reason = None if calls is None else calls.left.get(key_of(node.proto))
    return "" if reason is None else f"this function of the model is not written out: {reason}"


def _check(op: Op) -> None:
    """Labels must fit the inferred shapes of the outputs."""
    for key in op.node.outputs:
        axes, shape = op.state.axes.get(key), op.state.facts.shapes.get(key)
        if axes is None or all(labels is None for labels in axes):
            continue
        if shape is None:
            op.state.facts.shapes[key] = tuple(None if x is None else x.size for x in axes)
        elif len(shape) != len(axes) or any(
            x is not None and size is not None and x.size != size for x, size in zip(axes, shape, strict=True)
        ):
            raise NotUnderstood("its output has another shape than its rule expects")


def _refuse(op: Op, reason: str) -> None:
    op.state.refusals[op.node.index] = reason
    for slot, key in enumerate(op.node.inputs):
        for labels in op.state.axes.get(key, ()):
            op.pin(labels, reason)
        for labels in op.state.uses.get((op.node.index, slot), ()):
            op.pin(labels, reason)
    for key in op.node.outputs:
        for labels in op.state.axes.pop(key, ()):
            op.pin(labels, reason)
    index = op.node.index
    op.state.rewrites.pop(index, None)
    op.state.references.pop(index, None)
    for said in (op.state.closings, op.state.literals, op.state.taken):
        while said and said[-1].node == index:  # what this node said came last
            said.pop()


def _pinned_choices(state: State) -> Sequence[Choice]:
    pinned = np.zeros(len(state.atoms), bool)
    pinned[0] = True
    for atoms, _, _ in state.pins:
        pinned[state.atoms.find(atoms)] = True
    return [c for c in state.taken if pinned[state.atoms.find(c.labels)].all() or _collapsed(state, c)]


def _collapsed(state: State, choice: Choice) -> bool:
    """Whether all indices of a choice are tied into one: none of them can leave without the others."""
    return choice.labels.size > 1 and np.unique(state.atoms.find(choice.labels)).size == 1


def _shared(graph: Graph) -> set[str]:
    """Weights that several nodes use: one layer applied repeatedly, unless all its entries are equal (an exporter's
    merging of equal tensors).
    """
    found = set()
    for key, constant in graph.constants.items():
        if len(constant.shape) < 2 or len(graph.consumers.get(key, ())) < 2 or constant.size <= 1:
            continue
        array = constant.array()
        if (array != array.flat[0]).any():
            found.add(key)
    return found
