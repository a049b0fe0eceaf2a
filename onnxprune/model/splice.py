"""Inserting and replacing nodes in the bodies of a ModelProto, addressed by their index in `Graph.nodes`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import onnx
from onnx import NodeProto

from onnxprune.model.graph import Graph

FRONT = -1
"""Key of `before` for nodes that go to the front of the top level."""


def splice(graph: Graph, before: Mapping[int, Sequence[NodeProto]], drop: Collection[int] = ()) -> None:
    """Put nodes before the node of an index, in the same body; remove the nodes in `drop`. Edits graph.scopes."""
    touched = {graph.nodes[index].scope if index >= 0 else 0 for index in {*before, *drop}}
    position = {
        (n.scope, n.proto.output[0]): n.index
        for n in graph.nodes
        if (n.index in before or n.index in drop) and n.outputs
    }
    # innermost first: rebuilding a body copies its nodes, and with them the bodies inside
    for scope in sorted(touched, reverse=True):
        body = graph.scopes[scope]
        rebuilt = onnx.GraphProto()
        if scope == 0:
            rebuilt.node.extend(before.get(FRONT, ()))
        for node in body.node:
            index = position.get((scope, node.output[0])) if node.output else None
            if index is not None:
                rebuilt.node.extend(before.get(index, ()))
                if index in drop:
                    continue
            rebuilt.node.append(node)
        del body.node[:]
        body.node.extend(rebuilt.node)
