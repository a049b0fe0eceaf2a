"""Which layers have a neighbour that the runtime runs differently next to another layer.

A pooling behind a dense layer has the layout of that layer, for which the runtime has fast kernels; behind a sparse one
it may have to do without. What that costs is not in the times of the layer alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.model.graph import Graph
from onnxprune.sparsifying.tuning.pieces import Piece, Untimed
from onnxprune.trace.ops.elementwise import BINARY, UNARY

INDIFFERENT = frozenset({*UNARY, *BINARY, "BatchNormalization"})
"""Operators to which the layout is all the same."""
PASSED = frozenset({"QuantizeLinear", "DequantizeLinear", "Identity", "Cast"})


def at_edges(graph: Graph, found: Sequence[Piece | Untimed]) -> frozenset[str]:
    """Weights of layers whose result is read by other operators than layers and element-wise ones."""
    covered = {index for piece in found if isinstance(piece, Piece) for index in piece.covers}
    result = set()
    for piece in found:
        if not isinstance(piece, Piece):
            continue
        keys = [graph.nodes[piece.covers[-1]].outputs[0]]
        while keys:
            for index, _ in graph.consumers.get(keys.pop(), ()):
                node = graph.nodes[index]
                if node.op_type in PASSED:
                    keys += node.outputs
                elif index not in covered and node.op_type not in INDIFFERENT:
                    result.add(piece.weight)
    return frozenset(result)
