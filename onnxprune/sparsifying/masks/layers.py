"""Which layers of a model can have masks, and why the others cannot."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.capture.features import Linear, linear_layer
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.plain import hoisted
from onnxprune.sparse.layers import Declined, read_layer
from onnxprune.sparse.patterns import UNSTRUCTURED, Pattern

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Candidate:
    """A layer with a constant weight of `shape`: `linear`, how it is seen as a matrix, or the `reason` why it stays
    dense. `weight` is the name of the initializer in the working form of the model (`plain.hoisted`)."""

    node: str
    weight: str
    shape: tuple[int, ...]
    linear: Linear | None
    reason: str | None = None

    @property
    def outputs(self) -> int:
        """Output channels of one group."""
        linear = self.linear
        return self.shape[0 if linear is None or linear.transposed else 1] // (linear.groups if linear else 1)

    def pattern(self, asked: Pattern) -> Pattern:
        """What is asked, or single weights where the blocks of a grouped convolution would reach into another group."""
        if self.linear is not None and self.linear.groups > 1 and self.outputs % asked.rows:
            return UNSTRUCTURED
        return asked


def candidates(model: Model) -> list[Candidate]:
    """All layers with constant weights, in order; works on the working form, whatever form is given."""
    graph = build(hoisted(model, integers=False))
    found = []
    for node in graph.nodes:
        if node.op_type in LAYERS and not node.domain and len(node.inputs) > 1 and node.inputs[1] in graph.constants:
            found.append(_candidate(graph, node))
    return found


def _candidate(graph: Graph, node: Node) -> Candidate:
    weight = graph.constants[node.inputs[1]]
    try:
        layer, reason = read_layer(graph, node), None
        if layer.family == "DepthwiseConv":
            reason = "it is depthwise"
    except Declined as declined:
        reason = str(declined)
    linear = None if reason else linear_layer(graph, node)
    if reason is None and len(graph.consumers.get(weight.key, ())) > 1:
        reason = "its weight is read by another node, too"
    if reason is None and linear is None:
        reason = f"this form of {node.op_type} is not seen as a matrix product"
    return Candidate(node.label, weight.name, weight.shape, None if reason else linear, reason)
