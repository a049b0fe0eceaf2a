"""Which nodes a network no longer needs once sums are replaced by their shortcuts."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from onnxprune.model.graph import Graph
from onnxprune.model.structure import graphs_of


def vanishing(graph: Graph, sums: Mapping[int, int]) -> frozenset[int]:
    """Nodes that leave when each sum, a node index, gives its input of the slot it maps to: the sums themselves and
    everything that only they needed. Nodes whose outputs nobody read before stay, and so do those with bodies.
    """
    read: set[str] = set()
    gone: set[int] = set()
    for node in reversed(graph.nodes):  # readers before producers, owners before their bodies
        wanted = any(key in read or key in graph.fixed for key in node.outputs)
        if node.index in sums:
            gone.add(node.index)
            if wanted:
                read.add(node.inputs[sums[node.index]])
            continue
        used = any(key in graph.consumers for key in node.outputs)
        if node.scope == 0 and used and not wanted and not any(True for _ in graphs_of(node.proto)):
            gone.add(node.index)
        else:
            read.update(node.inputs)
    return frozenset(gone)


def orphans(graph: Graph, gone: Collection[int]) -> list[str]:
    """Constants of the top level that only the nodes `gone` read, and nobody outside of the model may set."""
    return [
        key
        for key, constant in graph.constants.items()
        if constant.scope == 0
        and key not in graph.fixed
        and (readers := graph.consumers.get(key))
        and all(index in gone for index, _ in readers)
    ]
