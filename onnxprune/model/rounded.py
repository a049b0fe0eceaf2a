"""Values of quantised networks: as they are computed, and as others read them, rounded by QuantizeLinear and back."""

from __future__ import annotations

from onnxprune.model.graph import Graph, Node
from onnxprune.model.undo import ROUND, UNDO


def rounded(graph: Graph, key: str) -> str:
    """What others read of `key`: what QuantizeLinear and DequantizeLinear make of it, or itself."""
    quantize = rounding(graph, key)
    undo = None if quantize is None else _only_reader(graph, quantize.outputs[0])
    return undo.outputs[0] if undo is not None and undo.op_type == UNDO and not undo.domain else key


def exact(graph: Graph, key: str) -> str:
    """The value that is `key` as others read it, or itself: the inverse of `rounded`."""
    undo = _producer(graph, key)
    quantize = _producer(graph, undo.inputs[0]) if undo is not None and undo.op_type == UNDO else None
    return quantize.inputs[0] if quantize is not None and quantize.op_type == ROUND else key


def rounding(graph: Graph, key: str) -> Node | None:
    """The QuantizeLinear that is the only reader of a value."""
    node = _only_reader(graph, key)
    return node if node is not None and node.op_type == ROUND and not node.domain and node.inputs[0] == key else None


def _only_reader(graph: Graph, key: str) -> Node | None:
    readers = graph.consumers.get(key, ())
    if len(readers) != 1 or key in graph.fixed:
        return None
    node = graph.nodes[readers[0][0]]
    return node if node.scope == 0 else None


def _producer(graph: Graph, key: str) -> Node | None:
    index = graph.producer.get(key)
    return None if index is None else graph.nodes[index]
