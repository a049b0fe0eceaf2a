"""Shapes at the borders of the bodies of Loop and Scan: what is carried round has one shape all the time, or an unknown
one.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.model.facts import Facts, Shape
from onnxprune.model.graph import Border, Graph, Node


@dataclass(frozen=True)
class Carried:
    """A state: input `slot` of the node, where it enters and leaves the body, and output `output` of the node."""

    slot: int
    enters: str
    leaves: str
    output: int


def carried(node: Node, border: Border) -> list[Carried]:
    """The states of a Loop or a Scan; none if its inputs do not fit its body."""
    if node.op_type == "Loop":
        count, first, outputs = len(border.inputs) - 2, 2, border.outputs[1:]
    else:
        count, first, outputs = len(border.inputs) - int(node.attribute("num_scan_inputs", 0)), 0, border.outputs
    if count < 0 or len(node.inputs) != len(border.inputs) or len(outputs) < count:
        return []
    return [Carried(first + k, border.inputs[first + k], outputs[k], k) for k in range(count)]


class Scopes:
    """Tells, going through the nodes of a graph, where the bodies of loops begin: right before the node of the loop."""

    def __init__(self, graph: Graph) -> None:
        self._waiting = sorted(((border.scope, index) for index, border in graph.borders.items()), reverse=True)

    def entered(self, node: Node) -> list[int]:
        """Loops (their nodes) whose bodies begin here, outer ones first: those in `node`'s scope or around it."""
        found = []
        while self._waiting and self._waiting[-1][0] <= node.scope:
            found.append(self._waiting.pop()[1])
        return found


def enter(graph: Graph, facts: Facts, index: int) -> None:
    """What a body does not say of its states: as they begin."""
    node = graph.nodes[index]
    for state in carried(node, graph.borders[index]):
        start = node.inputs[state.slot]
        if facts.shapes.get(state.enters) is None and facts.shapes.get(start) is not None:
            facts.shapes[state.enters] = facts.shapes[start]
            facts.assumed.add(state.enters)
        if start in facts.dtypes:
            facts.dtypes.setdefault(state.enters, facts.dtypes[start])


def leave(graph: Graph, facts: Facts, index: int) -> None:
    """Shapes of the outputs. Where a state does not leave as it was assumed to enter, nothing is known of its body."""
    node, border = graph.nodes[index], graph.borders[index]
    states = carried(node, border)
    if any(s.enters in facts.assumed and _differ(facts.shapes[s.enters], facts.shapes.get(s.leaves)) for s in states):
        for entry in graph.nodes:
            for key in entry.outputs if entry.scope == border.scope else ():
                facts.shapes.pop(key, None)
        for state in states:
            if state.enters in facts.assumed:
                del facts.shapes[state.enters]
        return
    for state in states:
        if state.output >= len(node.outputs) or not node.outputs[state.output]:
            continue
        a, b = facts.shapes.get(node.inputs[state.slot]), facts.shapes.get(state.leaves)
        if a is not None and b is not None and len(a) == len(b):
            common = tuple(x if x == y else None for x, y in zip(a, b, strict=True))
            facts.shapes.setdefault(node.outputs[state.output], common)
        if state.leaves in facts.dtypes:
            facts.dtypes.setdefault(node.outputs[state.output], facts.dtypes[state.leaves])


def _differ(a: Shape, b: Shape | None) -> bool:
    """Unknown sizes do, too: they may be anything."""
    return a != b
