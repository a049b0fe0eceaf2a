"""What a residual branch adds, from its weights alone.

The score is the mean square of the branch's output if the inputs of its last layer were independent and of mean square
1: |W|^2 / n + |b|^2 / n for n outputs. Behind a BatchNormalization it is exact: mean(gamma^2 + beta^2). Constants that
the output is multiplied by (layer scale) or that are added to it count. A branch that adds little to its shortcut is
the one to leave out (Jordao et al., Discriminative Layer Pruning for Convolutional Neural Networks, IEEE JSTSP 2020,
rank layers likewise, by what their features say; Huang & Wang, ECCV 2018, train scales of branches to zero).
"""

from __future__ import annotations

import numpy as np

from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.trace.branches import Branch

LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def energy(graph: Graph, branch: Branch) -> float | None:
    """Mean square of what the branch adds, see above; None if it has no layer with plain weights."""
    factor, added = 1.0, 0.0
    for index in reversed(branch.nodes):
        node = graph.nodes[index]
        if node.domain:
            continue
        if node.op_type == "BatchNormalization" and _is_weight(graph, node, 1) and _is_weight(graph, node, 2):
            return added + factor * (_power(graph, node, 1) + _power(graph, node, 2))
        if node.op_type in LAYERS and _is_weight(graph, node, 1):
            bias = _power(graph, node, 2) if _is_weight(graph, node, 2) else 0.0
            return added + factor * (_power(graph, node, 1) * _terms(graph, node) + bias)
        slots = [slot for slot in range(len(node.inputs)) if _is_weight(graph, node, slot)]
        if node.op_type == "Add" and slots:
            added += factor * _power(graph, node, slots[0])
        elif node.op_type == "Mul" and slots:
            factor *= _power(graph, node, slots[0])
        elif node.op_type == "Div" and slots == [1]:
            factor /= max(_power(graph, node, 1), 1e-30)
    return None


def _is_weight(graph: Graph, node: Node, slot: int) -> bool:
    return len(node.inputs) > slot and bool(node.inputs[slot]) and is_computed(graph, node.inputs[slot])


def _power(graph: Graph, node: Node, slot: int) -> float:
    """Mean square of a constant."""
    return float(np.mean(folded(graph, node.inputs[slot]).astype(np.float64) ** 2))


def _terms(graph: Graph, node: Node) -> int:
    """How many products a layer sums for one output."""
    shape: tuple[int, ...] = folded(graph, node.inputs[1]).shape
    if node.op_type == "ConvTranspose":
        return int(np.prod(shape)) // (shape[1] * int(node.attribute("group", 1)))
    if node.op_type == "Conv" or (node.op_type == "Gemm" and node.attribute("transB", 0)):
        return int(np.prod(shape[1:]))
    return int(shape[-2]) if len(shape) > 1 else int(shape[0])
