"""Calls of functions that were written out (inline.py), and their way back: what did not change is a call again.

A call comes back where its nodes stand together, byte for byte as they were written out, and nobody else reads what is
inside. Weights that are handed over stay outside, so that a function without a weight of its own comes back as it was,
for weights of any size. Innermost calls first, so that the body of an outer one is what it was.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto

from onnxprune.model.names import bodies, taken
from onnxprune.model.structure import graphs_of

Key = tuple[str, str, str]
MOST_NODES = 1 << 20
RECURSIVE = "it calls itself"
TOO_LARGE = f"written out it has more than {MOST_NODES} nodes"


class Call(NamedTuple):
    """`node`: the call, encoded. `body`: a digest of every node that took its place. `inner`: what only these see."""

    node: bytes
    function: str
    body: tuple[bytes, ...]
    inner: frozenset[str]


class Calls(NamedTuple):
    """What was written out, outermost level first. `functions` and `imports` are those of the model before, encoded.

    `left`: functions that stayed calls, with the reason.
    """

    levels: tuple[tuple[Call, ...], ...]
    functions: tuple[bytes, ...]
    imports: tuple[bytes, ...]
    left: Mapping[Key, str]

    def endless(self, function: FunctionProto) -> bool:
        """Whether a function is too large to be written out, or has no end."""
        return self.left.get(key_of(function)) in (RECURSIVE, TOO_LARGE)

    def before(self) -> tuple[list[FunctionProto], list[OperatorSetIdProto]]:
        """Functions and operator sets of the model before."""
        functions = [FunctionProto.FromString(entry) for entry in self.functions]
        return functions, [OperatorSetIdProto.FromString(entry) for entry in self.imports]


def key_of(entry: NodeProto | FunctionProto) -> Key:
    """Domain, name and overload: what a call names, and a function is found by."""
    name = entry.op_type if isinstance(entry, NodeProto) else entry.name
    return entry.domain, name, entry.overload


def digest(node: NodeProto) -> bytes:
    return hashlib.sha256(node.SerializeToString(deterministic=True)).digest()


def called(graph: GraphProto, functions: Iterable[FunctionProto]) -> set[Key]:
    """Functions that a graph calls, or that are called by those."""
    by_key = {key_of(entry): entry for entry in functions}
    found: set[Key] = set()
    waiting: list[NodeProto] = [node for body in bodies(graph) for node in body.node]
    while waiting:
        node = waiting.pop()
        key = key_of(node)
        if key in by_key and key not in found:
            found.add(key)
            waiting.extend(by_key[key].node)
        waiting.extend(inner for owned in graphs_of(node) for inner in owned.node)
    return found


def outlined(proto: ModelProto, calls: Calls) -> tuple[ModelProto, dict[str, int]]:
    """The model with calls where they were; and how many of each function ("domain:name") did not come back.

    A function that nobody calls any more leaves, one that nobody called before stays.
    """
    work = ModelProto()
    work.CopyFrom(proto)
    lost: Counter[str] = Counter()
    gone: set[str] = set()
    for level in reversed(calls.levels):
        restored = _Level(work, level).run()
        gone.update(name for call in restored for name in call.inner)
        lost.update(call.function for call in (Counter(level) - Counter(restored)).elements())
    for body in bodies(work.graph):
        for values in (body.value_info, body.quantization_annotation):
            names = [getattr(value, "name", "") or getattr(value, "tensor_name", "") for value in values]
            for position in reversed([k for k, name in enumerate(names) if name in gone]):
                del values[position]
    functions, imports = calls.before()
    added = [entry for entry in work.functions if entry not in functions]
    wanted = called(work.graph, functions)
    unused = {key_of(entry) for entry in functions} - _once_called(functions, calls)
    del work.functions[:]
    work.functions.extend(entry for entry in functions if key_of(entry) in wanted | unused)
    work.functions.extend(added)
    used = {node.domain for body in bodies(work.graph) for node in body.node}
    known = {entry.domain for entry in imports}
    new = [entry for entry in work.opset_import if entry.domain in used and entry.domain not in known]
    del work.opset_import[:]
    work.opset_import.extend([*imports, *new])
    return work, dict(sorted(lost.items()))


def _once_called(functions: Sequence[FunctionProto], calls: Calls) -> set[Key]:
    """Of these functions, those that the model called before."""
    top = GraphProto()
    for level in calls.levels[:1]:
        top.node.extend(NodeProto.FromString(call.node) for call in level)
    return called(top, functions)


class _Level:
    """The calls of one level, put back wherever their bodies are found. Edits `proto` in place."""

    def __init__(self, proto: ModelProto, level: Sequence[Call]) -> None:
        self._graphs = list(bodies(proto.graph))[::-1]
        self._by_first: dict[bytes, list[Call]] = {}
        for call in level:
            self._by_first.setdefault(call.body[0], []).append(call)
        self._outputs = frozenset(name for call in level for name in call.inner) | _outputs(level)
        self._reads = Counter(name for graph in self._graphs for name in _read(graph))
        self._given = set(taken(proto)) if level else set()

    def run(self) -> list[Call]:
        """The calls that came back."""
        found: list[Call] = []
        for graph in self._graphs:
            nodes: list[NodeProto] = []
            here, position = list(graph.node), 0
            before = len(found)
            while position < len(here):
                call = self._call_at(here, position)
                if call is None:
                    nodes.append(here[position])
                    position += 1
                    continue
                self._by_first[call.body[0]].remove(call)
                found.append(call)
                nodes.append(NodeProto.FromString(call.node))
                position += len(call.body)
            if len(found) > before:
                copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
                del graph.node[:]
                graph.node.extend(copies)
        return found

    def _call_at(self, nodes: Sequence[NodeProto], position: int) -> Call | None:
        if not any(name in self._outputs for name in nodes[position].output):
            return None
        for call in self._by_first.get(digest(nodes[position]), ()):
            part = nodes[position : position + len(call.body)]
            if tuple(digest(node) for node in part) == call.body and self._closed(call, part):
                return call
        return None

    def _closed(self, call: Call, part: Sequence[NodeProto]) -> bool:
        """Whether only the nodes of the body read what is inside, and all that the call reads is there."""
        inside = Counter(name for node in part for name in _read_by(node))
        given = [name for name in NodeProto.FromString(call.node).input if name]
        return all(self._reads[name] == inside[name] for name in call.inner) and self._given.issuperset(given)


def _outputs(level: Sequence[Call]) -> frozenset[str]:
    return frozenset(name for call in level for name in NodeProto.FromString(call.node).output if name)


def _read(graph: GraphProto) -> Iterable[str]:
    """What a graph reads itself, without its subgraphs."""
    for node in graph.node:
        yield from node.input
    for value in graph.output:
        yield value.name


def _read_by(node: NodeProto) -> Iterable[str]:
    """With its subgraphs."""
    yield from node.input
    for owned in graphs_of(node):
        for body in bodies(owned):
            yield from _read(body)
