"""Which depthwise layers lie beside sparse ones: left to the runtime, each needs its input and output converted."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts
from onnxprune.sparsifying.tuning.pieces import Piece, Untimed, pieces
from onnxprune.trace.groups import Trace


def depthwise_beside(traced: Trace, sparse: Collection[str], facts: Facts | None = None) -> tuple[str, ...]:
    """Names of weights for the `depthwise` of `sparse.rewrite`: of depthwise layers before or behind a layer that
    becomes sparse. `sparse`: the names of the weights of those.
    """
    found = pieces(traced.graph, facts or traced.facts)
    return neighbours(traced.graph, found, sparse)


def neighbours(graph: Graph, found: Sequence[Piece | Untimed], sparse: Collection[str]) -> tuple[str, ...]:
    """The same of pieces that are known."""
    made = [piece for piece in found if isinstance(piece, Piece)]
    read, written = set(), set()
    for piece in made:
        if piece.weight in sparse:
            read |= _ends(graph, piece)[0]
            written |= _ends(graph, piece)[1]
    result = []
    for piece in made:
        inputs, outputs = _ends(graph, piece)
        if piece.depthwise and (inputs & written or outputs & read):
            result.append(piece.weight)
    return tuple(sorted(set(result)))


def _ends(graph: Graph, piece: Piece) -> tuple[set[str], set[str]]:
    """What the nodes of a piece read and write."""
    nodes = [graph.nodes[index] for index in piece.covers]
    inside = {key for node in nodes for key in node.outputs}
    return {key for node in nodes for key in node.inputs if key} - inside, {nodes[-1].outputs[0]}
