"""Names and order: every value is defined once, before it is used; an unsorted graph is sorted, a cycle refused."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass, field

from onnx import FunctionProto, GraphProto, ModelProto, NodeProto

from onnxprune.errors import ModelError

_SHOWN = 3


@dataclass
class _Body:
    """A node list with what surrounds it: a graph, a subgraph or a function."""

    nodes: MutableSequence[NodeProto]
    given: set[str]  # defined before the first node
    outputs: list[str]
    where: str
    parent: tuple[_Body, int] | None = None  # the node that owns this subgraph
    producer: dict[str, int] = field(default_factory=dict)  # which node defines a name
    reads: list[set[str]] = field(default_factory=list)  # what each node reads, its subgraphs included
    captured: dict[int, set[str]] = field(default_factory=dict)  # names that subgraphs of node i read from outside


def check_structure(model: ModelProto) -> bool:
    """Check all names; put unsorted nodes in order, in place. True if something had to be sorted.

    Raises ModelError for duplicate or undefined names and for cycles. Iterative, near-linear in nodes plus edges.
    """
    roots = [_graph_body(model.graph, "the graph")]
    roots += [_function_body(function) for function in model.functions]
    moved = False
    for root in roots:
        bodies = [root]
        for body in bodies:  # grows while it is walked: every subgraph comes after its parent
            _find_producers(body)
            bodies.extend(_subgraphs(body))
        for body in reversed(bodies):
            moved |= _check_body(body)
    return moved


def _graph_body(graph: GraphProto, where: str) -> _Body:
    given: set[str] = set()
    for item in graph.input:
        if item.name in given:
            raise ModelError(f"{where} has two inputs named {item.name!r}")
        given.add(item.name)
    stored: set[str] = set()
    names = [tensor.name for tensor in graph.initializer]
    names += [sparse.values.name for sparse in graph.sparse_initializer]
    for name in names:
        if not name:
            raise ModelError(f"{where} has an initializer without a name")
        if name in stored:
            raise ModelError(f"{where} has two initializers named {name!r}")
        stored.add(name)
    return _Body(graph.node, given | stored, [item.name for item in graph.output], where)


def _function_body(function: FunctionProto) -> _Body:
    where = f"function {function.name!r}"
    if len(set(function.input)) != len(function.input):
        raise ModelError(f"{where} has two inputs of the same name")
    return _Body(function.node, set(function.input), list(function.output), where)


def graphs_of(node: NodeProto) -> Iterator[GraphProto]:
    """The subgraphs that a node owns directly."""
    for attribute in node.attribute:
        if attribute.HasField("g"):
            yield attribute.g
        yield from attribute.graphs


def _subgraphs(body: _Body) -> Iterator[_Body]:
    for index, node in enumerate(body.nodes):
        if not node.attribute:
            continue
        for graph in graphs_of(node):
            inner = _graph_body(graph, f"a subgraph of {describe(node)}")
            inner.parent = (body, index)
            yield inner


def describe(node: NodeProto) -> str:
    """How messages name a node."""
    name = node.name or (node.output[0] if node.output else "")
    return f"{node.op_type or 'node'} {name!r}"


def _check_body(body: _Body) -> bool:
    producer = body.producer
    free: set[str] = set()
    ordered = True
    for index, names in body.captured.items():
        body.reads[index] |= names
    for index, names in enumerate(body.reads):
        for name in names:
            source = producer.get(name)
            if source is not None:
                ordered &= source < index
            elif name and name not in body.given:
                free.add(name)
    free.update(name for name in body.outputs if name not in producer and name not in body.given)
    _settle_free_names(body, free)
    if ordered:
        return False
    _sort(body)
    return True


def _find_producers(body: _Body) -> None:
    producer = body.producer
    for index, node in enumerate(body.nodes):
        body.reads.append(set(node.input))
        for name in node.output:
            if not name:
                continue
            if name in producer or name in body.given:
                raise ModelError(f"{body.where} defines {name!r} twice, the second time by {describe(node)}")
            if body.parent is not None and _visible_outside(body, name):
                raise ModelError(f"{body.where} redefines {name!r}, which it can already see")
            producer[name] = index
    require_text(list(producer))
    require_text(list(set().union(*body.reads)))


def _visible_outside(body: _Body, name: str) -> bool:
    """Whether an enclosing graph defines a name before the node that owns this subgraph."""
    parent = body.parent
    while parent is not None:
        outer, owner = parent
        if name in outer.given or outer.producer.get(name, owner) < owner:
            return True
        parent = outer.parent
    return False


def _settle_free_names(body: _Body, free: set[str]) -> None:
    if body.parent is not None:
        outer, index = body.parent
        outer.captured.setdefault(index, set()).update(free)
        return
    if not free:
        return
    name = min(free)
    readers = (
        describe(node)
        for index, node in enumerate(body.nodes)
        if name in node.input or name in body.captured.get(index, ())
    )
    reader = next(readers, "an output")
    raise ModelError(f"{body.where} never defines {name!r}, which {reader} reads")


def _sort(body: _Body) -> None:
    """Stable topological order: among the nodes that are ready, the first in the file goes first."""
    producer = body.producer
    sources = [{producer[name] for name in names if name in producer} for names in body.reads]
    waiting = [len(items) for items in sources]
    users: list[list[int]] = [[] for _ in sources]
    for index, items in enumerate(sources):
        for source in items:
            users[source].append(index)
    ready = [index for index, count in enumerate(waiting) if count == 0]
    order: list[int] = []
    while ready:
        index = heapq.heappop(ready)
        order.append(index)
        for user in users[index]:
            waiting[user] -= 1
            if waiting[user] == 0:
                heapq.heappush(ready, user)
    if len(order) != len(sources):
        _raise_cycle(body, [index for index, count in enumerate(waiting) if count], sources)
    nodes = [NodeProto.FromString(body.nodes[index].SerializeToString()) for index in order]
    del body.nodes[:]
    body.nodes.extend(nodes)


def _raise_cycle(body: _Body, stuck: list[int], sources: list[set[int]]) -> None:
    """Walk backwards among the stuck nodes until one comes twice: from there on it is the cycle itself."""
    left, path, seen = set(stuck), [stuck[0]], {stuck[0]}
    while True:
        index = min(sources[path[-1]] & left)
        if index in seen:
            break
        seen.add(index)
        path.append(index)
    cycle = path[path.index(index) :]
    shown = " <- ".join(describe(body.nodes[item]) for item in cycle[:_SHOWN])
    more = f" and {len(cycle) - _SHOWN} more" if len(cycle) > _SHOWN else ""
    raise ModelError(f"{body.where} has a cycle: {shown}{more}")


def require_text(texts: list[str]) -> None:
    """Raise ModelError for text that is not UTF-8: protobuf hands it out as bytes, which nobody expects."""
    try:
        "".join(texts)
    except TypeError:
        wrong = next(text for text in texts if not isinstance(text, str))
        raise ModelError(f"the file is corrupt: {wrong!r} in it is not UTF-8 text") from None
