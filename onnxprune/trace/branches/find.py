"""Finding residual branches by one rule for sums, whatever the network looks like.

In a sum s + b of two activations of equal shape, b is a *branch over s* if b depends on s. Its nodes are those between
s and b: they depend on s, and b depends on them. If nobody else reads what they compute, the branch can leave, and
s + b becomes s (Veit et al., Residual Networks Behave Like Ensembles of Relatively Shallow Networks, NeurIPS 2016).
What the branch reads besides s (masks, earlier values) stays if others need it. A branch may hold others.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from onnxprune.model.cost import macs_of
from onnxprune.model.folding import is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.model.infer import Facts, infer
from onnxprune.model.random import RANDOM
from onnxprune.model.statics import free_sizes
from onnxprune.model.structure import graphs_of
from onnxprune.model.tensors import FLOATS
from onnxprune.trace.branches.branch import Branch

SUMS = frozenset({"Add", "Sum"})
SAME = frozenset({"Identity", "Dropout"})
KNOWN_DOMAINS = frozenset({"", "com.microsoft"})
LARGEST = 20_000  # nodes of a branch; keeps the search near-linear in long networks of long shortcuts


def find_branches(graph: Graph, facts: Facts) -> tuple[Branch, ...]:
    """All branches that hold layers or weights, in the order of their sums, with the reason of those that stay."""
    finder = _Finder(graph, facts)
    found: list[Branch] = []
    names: dict[str, int] = {}
    for node in graph.nodes:
        branch = finder.branch(node)
        if branch is not None and finder.costs_something(branch):
            seen = names[branch.name] = names.get(branch.name, 0) + 1
            found.append(branch if seen == 1 else replace(branch, name=f"{branch.name}#{seen}"))
    return tuple(found)


class _Finder:
    def __init__(self, graph: Graph, facts: Facts) -> None:
        self._graph, self._facts = graph, facts

    def branch(self, node: Node) -> Branch | None:
        """The branch that ends in a node, or None."""
        if node.scope != 0 or node.domain or node.op_type not in SUMS or len(node.inputs) != 2:
            return None
        if node.inputs[0] == node.inputs[1] or not all(self._activation(key) for key in node.inputs):
            return None
        for slot in (0, 1):
            root, end = self._root(node.inputs[slot]), node.inputs[1 - slot]
            inner = self._between(root, end)
            if inner is None:
                reason = f"it has more than {LARGEST} nodes"
                return Branch(node.label, node.index, slot, (), reason, node.label)
            if inner and self._differ(node):
                return None
            if inner:
                pin = self._pin(node, slot, inner)
                return Branch(node.label, node.index, slot, tuple(inner), *pin)
        return self._projection(node)

    def costs_something(self, branch: Branch) -> bool:
        """Whether any layer or weight belongs to the branch."""
        members, graph = set(branch.nodes), self._graph
        inputs = {key for index in members for key in graph.nodes[index].inputs if key in graph.constants}
        own = (all(index in members for index, _ in graph.consumers[key]) for key in inputs)
        return any(map(self._is_layer, members)) or any(own)

    # ---- inner -------------------------------------------------------------------------------------------------
    def _is_layer(self, index: int) -> bool:
        return macs_of(self._graph.nodes[index], self._facts) != 0

    @cached_property
    def _reads(self) -> dict[int, list[str]]:
        """Keys that each top-level node reads, the captures of its bodies included."""
        result: dict[int, list[str]] = {}
        pending: list[str] = []
        for node in self._graph.nodes:  # bodies come right before their owner
            if node.scope != 0:
                pending.extend(key for key in node.inputs if key and "@" not in key)
            else:
                result[node.index] = [*(key for key in node.inputs if key), *pending]
                pending = []
        return result

    @cached_property
    def _other_shapes(self) -> Mapping[str, Sequence[int | None]]:
        """Shapes for other symbolic sizes: what is equal for one choice may not be for all."""
        sizes = free_sizes(self._graph.model, self._facts)
        if not sizes:
            return self._facts.shapes
        return infer(self._graph, {name: size + 1 for name, size in sizes.items()}).shapes

    def _activation(self, key: str) -> bool:
        known = key in self._facts.values or is_computed(self._graph, key)
        return not known and self._facts.dtypes.get(key) in FLOATS

    def _root(self, key: str) -> str:
        """Where a value comes from that reaches its reader unchanged."""
        while (node := self._producer(key)) is not None and node.op_type in SAME and len(node.inputs) == 1:
            key = node.inputs[0]
        return key

    def _producer(self, key: str) -> Node | None:
        index = self._graph.producer.get(key)
        return None if index is None else self._graph.nodes[index]

    def _between(self, start: str, end: str) -> list[int] | None:
        """Nodes that depend on `start` and that `end` depends on, in order; None if there are too many."""
        first = self._graph.producer.get(start, -1)
        seen: set[int] = set()
        todo = [end]
        while todo:
            index = self._graph.producer.get(todo.pop())
            if index is None or index <= first or index in seen:
                continue
            seen.add(index)
            if len(seen) > LARGEST:
                return None
            todo.extend(self._reads[index])
        over, inner = {start}, []
        for index in sorted(seen):
            if not over.isdisjoint(self._reads[index]):
                over.update(self._graph.nodes[index].outputs)
                inner.append(index)
        return inner if end in over else []

    def _pin(self, node: Node, slot: int, inner: Sequence[int]) -> tuple[str | None, str | None]:
        """Why a branch cannot leave, and the node that says so."""
        if not self._equal_shapes(node):
            return "the shapes of its sum are not known, or not equal for all symbolic sizes", node.label
        members = set(inner)
        for other in (self._graph.nodes[index] for index in inner):
            if any(True for _ in graphs_of(other.proto)):
                return f"it holds control flow ({other.op_type})", other.label
            if other.domain not in KNOWN_DOMAINS or other.op_type in RANDOM:
                return f"it holds {other.op_type}, which may do more than compute its outputs", other.label
        for other in (self._graph.nodes[index] for index in inner):
            for key in filter(None, other.outputs):
                if key in self._graph.fixed:
                    return f"its value {key!r} is {self._graph.fixed[key]}", other.label
                for reader, _ in self._graph.consumers.get(key, ()):
                    if reader not in members and reader != node.index:
                        by = self._graph.nodes[reader]
                        return f"its value {key!r} is read outside of it, by {by.op_type} {by.label!r}", by.label
        return None, None

    def _differ(self, node: Node) -> bool:
        """Whether one operand is known to be broadcast: that is no branch."""
        a, b = (self._facts.shapes.get(key) for key in node.inputs)
        return a is not None and b is not None and None not in (*a, *b) and a != b

    def _equal_shapes(self, node: Node) -> bool:
        keys = (*node.inputs, node.outputs[0])
        shapes = [self._facts.shapes.get(key) for key in keys]
        others = [self._other_shapes.get(key) for key in keys]
        if any(shape is None or None in shape for shape in shapes) or len(set(shapes)) != 1:
            return False
        unknown = any(shape is None or None in shape for shape in others)
        return unknown or len({tuple(shape or ()) for shape in others}) == 1

    def _projection(self, node: Node) -> Branch | None:
        """A sum of two paths from one value, neither of which is that value: pinned. None if they do not meet."""
        sides = None if self._differ(node) else self._sides(*node.inputs)
        if sides is None:
            return None
        slot = min((0, 1), key=lambda k: (sum(map(self._is_layer, sides[k])), len(sides[k])))
        nodes = [self._graph.nodes[i] for i in sides[slot]]
        named = next((n for n in nodes if self._is_layer(n.index)), nodes[0])
        reason = f"its shortcut is not the identity: it goes through {named.op_type} {named.label!r}"
        return Branch(node.label, node.index, slot, tuple(sides[1 - slot]), reason, named.label)

    def _sides(self, a: str, b: str) -> tuple[list[int], list[int]] | None:
        """The nodes of either value back to the nearest activation that both depend on, or None."""
        place = self._graph.producer
        keys: dict[int, str] = {}
        inputs: dict[str, int] = {}  # numbered before all nodes
        owners: dict[int, int] = {}
        queue: list[int] = []
        own: dict[int, list[int]] = {1: [], 2: []}

        def visit(key: str, side: int) -> None:
            if key in self._graph.constants:
                return
            at = place[key] if key in place else inputs.setdefault(key, -1 - len(inputs))
            keys.setdefault(at, key)
            if at not in owners:
                heapq.heappush(queue, -at)
            owners[at] = owners.get(at, 0) | side

        visit(a, 1)
        visit(b, 2)
        while queue and len(owners) <= LARGEST:
            at = -heapq.heappop(queue)
            if owners[at] == 3:
                return (own[1][::-1], own[2][::-1]) if self._facts.dtypes.get(keys[at]) in FLOATS else None
            if at >= 0:
                own[owners[at]].append(at)
                for key in self._reads[at]:
                    visit(key, owners[at])
        return None
