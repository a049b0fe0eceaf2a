"""Names for new values: none that the model has already, be it in a body of control flow."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from onnx import GraphProto, ModelProto

from onnxprune.model.structure import graphs_of


def taken(proto: ModelProto, tensors: Iterable[str] = ()) -> set[str]:
    """The names of all values of a model, its bodies included; `tensors` are others that are taken as well."""
    found = set(tensors)
    for graph in bodies(proto.graph):
        found.update(value.name for value in (*graph.input, *graph.output))
        found.update(tensor.name for tensor in graph.initializer)
        found.update(sparse.values.name for sparse in graph.sparse_initializer)
        for node in graph.node:
            found.update(node.input)
            found.update(node.output)
    return found


def fresh(wanted: str, names: set[str]) -> str:
    """`wanted`, or with a number behind it; from now on it is among `names`."""
    name, number = wanted, 1
    while name in names:
        number += 1
        name = f"{wanted}.{number}"
    names.add(name)
    return name


def fresh_prefix(wanted: str, names: Collection[str]) -> str:
    """`wanted`, or with a number behind it: a beginning that none of `names` has."""
    prefix, number = wanted, 1
    while any(name.startswith(prefix) for name in names):
        number += 1
        prefix = f"{wanted}{number}."
    return prefix


def bodies(graph: GraphProto) -> Iterator[GraphProto]:
    """A graph and all bodies in it, depth first in the order of nodes: numbered as `Graph.scopes` are."""
    yield graph
    for node in graph.node:
        for body in graphs_of(node):
            yield from bodies(body)
