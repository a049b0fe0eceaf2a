"""Functions of a model, written out: every call becomes the nodes of its body, and is remembered (calls.py).

The rules know operators, not functions. What is written out keeps the names of the function with that of the call in
front (`CALL/NODE`), so that they are the same whatever else the model calls. Level by level: the calls in a body are
calls of the next level.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence
from dataclasses import dataclass, field

import onnx
from onnx import AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto

from onnxprune.model.calls import MOST_NODES, RECURSIVE, TOO_LARGE, Call, Calls, called, digest, key_of
from onnxprune.model.names import bodies, fresh, taken
from onnxprune.model.random import draws
from onnxprune.model.structure import graphs_of
from onnxprune.native.marks import DOMAIN

Key = tuple[str, str, str]
OURS = frozenset({"", "ai.onnx", "com.microsoft", DOMAIN})
"""Domains whose operators have rules, or reasons, of their own: a function there only says what they mean."""
DRAWS = "it draws numbers, each call its own"
UNMADE = "one of its outputs is made by none of its nodes"
OTHER_VERSION = "it is written for operator set {found} of {domain!r}, the model for {wanted}"
UNFIT = "it is called with other inputs or outputs than it has"


def inlined(proto: ModelProto) -> tuple[ModelProto, Calls] | None:
    """The model with its functions written out, and how they come back. None if it has no function to write out.

    `proto` is not changed. A function that cannot be written out stays, with a reason (`Calls.left`).
    """
    functions = {key_of(entry): entry for entry in proto.functions if entry.domain not in OURS}
    if not functions:
        return None
    left = _left(proto, functions)
    usable = {key: entry for key, entry in functions.items() if key not in left}
    work = ModelProto()
    work.CopyFrom(proto)
    writer = _Writer(usable, left, taken(work), {node.name for body in bodies(work.graph) for node in body.node})
    while writer.level(work.graph):
        pass
    reachable = called(work.graph, proto.functions)
    kept = [entry for entry in work.functions if key_of(entry) not in usable or key_of(entry) in reachable]
    functions_before, imports_before = [f.SerializeToString() for f in proto.functions], list(proto.opset_import)
    del work.functions[:]
    work.functions.extend(kept)
    _import(work, usable)
    return work, Calls(
        tuple(tuple(level) for level in writer.levels),
        tuple(functions_before),
        tuple(entry.SerializeToString() for entry in imports_before),
        left,
    )


# ---- which functions -----------------------------------------------------------------------------------------
def _left(proto: ModelProto, functions: Mapping[Key, FunctionProto]) -> dict[Key, str]:
    """Functions that stay calls, with the reason."""
    versions = {_domain(entry.domain): entry.version for entry in proto.opset_import}
    sizes = _sizes(functions)
    found: dict[Key, str] = {}
    for key, function in functions.items():
        made = {name for node in function.node for name in node.output}
        if sizes[key] is None:
            found[key] = RECURSIVE
        elif (sizes[key] or 0) > MOST_NODES:
            found[key] = TOO_LARGE
        elif not set(function.output) <= made or not function.output:
            found[key] = UNMADE
        elif any(draws(node) for node in _all(function.node)):
            found[key] = DRAWS
        elif (reason := _other_version(function, versions)) is not None:
            found[key] = reason
    return found


def _sizes(functions: Mapping[Key, FunctionProto]) -> dict[Key, int | None]:
    """Nodes of each function when it is written out; None if it calls itself. No recursion: files are not trusted."""
    sizes: dict[Key, int | None] = {}
    reads = {
        key: [k for node in _all(entry.node) if (k := key_of(node)) in functions] for key, entry in functions.items()
    }
    waiting = set(functions)
    while ready := [key for key in waiting if all(inner in sizes for inner in reads[key])]:
        for key in ready:
            total = len(list(_all(functions[key].node))) + sum(sizes[inner] or 0 for inner in reads[key])
            sizes[key] = min(total, MOST_NODES + 1)
            waiting.discard(key)
    return {**sizes, **dict.fromkeys(waiting)}


def _other_version(function: FunctionProto, versions: Mapping[str, int]) -> str | None:
    """Why the operators of a function are not those of the model: versions that define one of them differently."""
    imports = {_domain(entry.domain): entry.version for entry in function.opset_import}
    for node in _all(function.node):
        domain = _domain(node.domain)
        mine, wanted = imports.get(domain), versions.get(domain)
        if mine is None or wanted is None or mine == wanted:
            continue
        if _since(node.op_type, mine, domain) != _since(node.op_type, wanted, domain):
            return OTHER_VERSION.format(found=mine, domain=domain or "ai.onnx", wanted=wanted)
    return None


def _since(op_type: str, version: int, domain: str) -> int:
    """The version that defined an operator as it is in `version`; of one that onnx does not know: this one."""
    try:
        return int(onnx.defs.get_schema(op_type, version, domain).since_version)
    except onnx.defs.SchemaError:
        return version


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _all(nodes: MutableSequence[NodeProto]) -> Iterator[NodeProto]:
    """With those of subgraphs."""
    for node in nodes:
        yield node
        for graph in graphs_of(node):
            for body in bodies(graph):
                yield from body.node


def _import(proto: ModelProto, functions: Mapping[Key, FunctionProto]) -> None:
    """Domains that only functions imported so far."""
    known = {_domain(entry.domain) for entry in proto.opset_import}
    for function in functions.values():
        for entry in function.opset_import:
            if _domain(entry.domain) not in known:
                known.add(_domain(entry.domain))
                proto.opset_import.append(entry)


# ---- writing them out ------------------------------------------------------------------------------------------
@dataclass
class _Writer:
    functions: Mapping[Key, FunctionProto]
    left: dict[Key, str]
    names: set[str]
    labels: set[str]
    levels: list[list[Call]] = field(default_factory=list)

    def level(self, graph: GraphProto) -> bool:
        """Write out all calls that are there now, those in subgraphs included. Whether there were any."""
        found: list[Call] = []
        for body in list(bodies(graph))[::-1]:  # innermost first: the bodies of a node are copied with it
            if not any(self._callee(node) is not None for node in body.node):
                continue
            nodes: list[NodeProto] = []
            for node in body.node:
                function = self._callee(node)
                if function is None:
                    nodes.append(node)
                    continue
                written = _Body(node, function, self.names, self.labels).nodes()
                found.append(_remembered(node, written))
                nodes += written
            copies = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
            del body.node[:]
            body.node.extend(copies)
        if found:
            self.levels.append(found)
        return bool(found)

    def _callee(self, node: NodeProto) -> FunctionProto | None:
        function = self.functions.get(key_of(node))
        if function is None:
            return None
        if len(node.input) > len(function.input) or len(node.output) > len(function.output):
            self.left[key_of(node)] = UNFIT
            return None
        return function


def _remembered(node: NodeProto, written: list[NodeProto]) -> Call:
    inner = {name for one in written for name in one.output if name} - set(node.output)
    return Call(
        node.SerializeToString(),
        f"{node.domain}:{node.op_type}",
        tuple(digest(one) for one in written),
        frozenset(inner),
    )


class _Body:
    """The nodes of one call."""

    def __init__(self, call: NodeProto, function: FunctionProto, names: set[str], labels: set[str]) -> None:
        """`names` of values and `labels` of nodes are taken; those of the body come to them."""
        self._function = function
        self._prefix = next((name for name in call.output if name), call.name)
        self._called = call.name or self._prefix
        self._names, self._labels = names, labels
        given = [*call.input, *[""] * (len(function.input) - len(call.input))]
        self._renamed = dict(zip(function.input, given, strict=True))
        self._renamed.update((formal, name) for formal, name in zip(function.output, call.output) if name)  # noqa: B905
        self._attributes = {entry.name: entry for entry in function.attribute_proto}
        self._attributes.update((entry.name, entry) for entry in call.attribute)

    def nodes(self) -> list[NodeProto]:
        found = []
        for node in self._function.node:
            copy = NodeProto.FromString(node.SerializeToString())
            self._node(copy)
            found.append(copy)
        return found

    def _node(self, node: NodeProto) -> None:
        node.name = fresh(f"{self._called}/{node.name or node.op_type}", self._labels)
        node.input[:] = [self._renamed.get(name, name) for name in node.input]
        self._bind(node)
        for graph in graphs_of(node):
            self._graph(graph)
        node.output[:] = [self._defined(name) for name in node.output]

    def _graph(self, graph: GraphProto) -> None:
        for value in graph.input:
            value.name = self._defined(value.name)
        for tensor in graph.initializer:
            tensor.name = self._defined(tensor.name)
        for sparse in graph.sparse_initializer:
            sparse.values.name = self._defined(sparse.values.name)
        for node in graph.node:
            self._node(node)
        for value in (*graph.output, *graph.value_info):
            value.name = self._renamed.get(value.name, value.name)

    def _defined(self, name: str) -> str:
        if name and name not in self._renamed:
            self._renamed[name] = fresh(f"{self._prefix}/{name}", self._names)
        return str(self._renamed.get(name, ""))

    def _bind(self, node: NodeProto) -> None:
        """Attributes that stand for those of the call get their values; where the call gives none, they leave."""
        bound: list[AttributeProto] = []
        for attribute in node.attribute:
            if not attribute.ref_attr_name:
                bound.append(attribute)
            elif attribute.ref_attr_name in self._attributes:
                value = AttributeProto()
                value.CopyFrom(self._attributes[attribute.ref_attr_name])
                value.name = attribute.name
                bound.append(value)
        copies = [AttributeProto.FromString(entry.SerializeToString()) for entry in bound]
        del node.attribute[:]
        node.attribute.extend(copies)
