"""Which layers of a file compute with integers of 8 bits, whoever quantised it: what its nodes say.

A layer is a node with multiply-accumulates. It is in integers if it is an operator on integers (QLinearConv,
MatMulInteger, ...), or an ordinary one between quantisers of which runtimes make such an operator: both factors behind
DequantizeLinear, and, of a convolution, QuantizeLinear behind it, at most after a rectifier. What a runtime on some
processor makes of it is another question.
"""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.model.cost import macs_of
from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import INTEGERS, grid_of
from onnxprune.model.infer import Facts
from onnxprune.native.marks import DOMAIN

MICROSOFT = "com.microsoft"
BITS = 8
OPERATORS = frozenset({"QLinearConv", "QLinearMatMul", "ConvInteger", "MatMulInteger"})
"""Of ONNX."""
CONTRIBUTED = frozenset(
    {"DynamicQuantizeLSTM", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "QAttention", "QGemm", "QLinearConv"}
)
ROUNDS = 4
"""The `accuracy_level` with which MatMulNBits rounds its inputs to 8 bits, and computes with these."""
BETWEEN = frozenset({"Gemm", "MatMul"})
"""Layers between quantisers that are in integers also where they give floats."""
SPARSE = "its weight is stored sparse: quantise the dense model, and let sparsify make zeros in that"
QUANTISED = "the model has quantisers already: quantise the model of floats"
IN_BITS = "its weight is in integers already"
QUANTISERS = frozenset({"QuantizeLinear", "DynamicQuantizeLinear"})
RECTIFIERS = frozenset({"Relu", "Clip"})


@dataclass(frozen=True)
class IntegerShare:
    """`layers` of a file, of which `integers` compute with integers, with so many of its multiply-accumulates; of
    `uncounted` layers these are unknown."""

    layers: int
    integers: int
    macs: int
    integer_macs: int
    uncounted: int

    @property
    def share(self) -> float:
        """Of the multiply-accumulates, 0 to 1; 0 of a file without any."""
        return self.integer_macs / self.macs if self.macs else 0.0


def integer_share(graph: Graph, facts: Facts) -> IntegerShare:
    """Of all layers of a file, bodies of control flow included."""
    costs = [(node, macs_of(node, facts)) for node in graph.nodes]
    layers = [(node, macs) for node, macs in costs if macs != 0]
    inside = [(node, macs) for node, macs in layers if in_integers(graph, node)]
    return IntegerShare(
        len(layers),
        len(inside),
        sum(macs or 0 for _, macs in layers),
        sum(macs or 0 for _, macs in inside),
        sum(macs is None for _, macs in layers),
    )


def final(node: Node) -> str | None:
    """Why the weight of a layer is stored as it has to be, whatever runs it; None for operators of floats."""
    if node.domain == DOMAIN:
        return SPARSE
    known = CONTRIBUTED | {"MatMulNBits"} if node.domain == MICROSOFT else frozenset() if node.domain else OPERATORS
    return IN_BITS if node.op_type in known else None


def has_quantisers(graph: Graph) -> bool:
    """Whether values that nodes compute are rounded to integers somewhere, so that some of it is quantised already."""
    return any(
        node.op_type in QUANTISERS and not node.domain and node.inputs[0] not in graph.computed for node in graph.nodes
    )


def in_integers(graph: Graph, node: Node) -> bool:
    """Whether a layer computes with integers of 8 bits or fewer."""
    if node.domain == DOMAIN:
        return node.op_type.startswith("SparseQ")
    if node.domain == MICROSOFT:
        rounds = node.op_type == "MatMulNBits" and node.attribute("accuracy_level", 0) == ROUNDS
        return rounds or node.op_type in CONTRIBUTED
    if node.domain:
        return False
    if node.op_type in OPERATORS:
        return True
    if node.op_type != "Conv" and node.op_type not in BETWEEN:
        return False
    given = all(_dequantised(graph, key) for key in node.inputs[:2])
    return given and (node.op_type in BETWEEN or _quantised(graph, node.outputs[0]))


# ---- inner -------------------------------------------------------------------------------------------------------
def _dequantised(graph: Graph, key: str) -> bool:
    """Whether a value comes from integers of 8 bits or fewer."""
    index = graph.producer.get(key)
    node = None if index is None else graph.nodes[index]
    return node is not None and node.op_type == "DequantizeLinear" and _small(graph, node)


def _quantised(graph: Graph, key: str) -> bool:
    """Whether all that reads a value makes such integers of it, be it behind a rectifier."""
    readers = [graph.nodes[index] for index, _ in graph.consumers.get(key, ())]
    if len(readers) == 1 and readers[0].op_type in RECTIFIERS and not readers[0].domain and key not in graph.fixed:
        return _quantised(graph, readers[0].outputs[0])
    made = all(node.op_type == "QuantizeLinear" and _small(graph, node) for node in readers)
    return bool(readers) and made and key not in graph.fixed


def _small(graph: Graph, node: Node) -> bool:
    grid = grid_of(graph, node)
    return not node.domain and grid is not None and INTEGERS[grid.dtype] <= BITS
