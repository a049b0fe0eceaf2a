"""What a repair may change of integers: larger scales of weights, biases in the steps of their layer, nothing else.

A bias of 32 bits counts steps of the input times steps of the weight: a runtime that computes in integers relies on it,
whatever scale the file gives.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto

from onnxprune.errors import VerificationError
from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.model.load import Model
from onnxprune.model.plain import outputs_of, shape_of
from onnxprune.model.tied_scales import BIAS, OUTPUTS
from onnxprune.model.undo import ROUND, UNDO, made

CLOSE = 1e-5
"""How far a scale may be from the product of two, relative to it: they are rounded to float32."""
Undone = Mapping[str, NodeProto]


def stored_biases(expected: Model, found: Model) -> Undone:
    """By output, nodes of `found` that make numbers of its own integers, none of which `expected` has."""
    known = {name for node in expected.proto.graph.node for name in node.output} | expected.tensors.keys()
    result = {}
    for node in found.proto.graph.node:
        plain = node.op_type == UNDO and not node.domain and len(node.output) == 1 and len(node.input) > 1
        own = plain and all(name in found.tensors for name in node.input if name)
        if own and known.isdisjoint([*node.input, *node.output]):
            result[node.output[0]] = node
    return result


def check_stored(name: str, layer: NodeProto, stored: NodeProto, expected: Graph, found: Model) -> None:
    """The integers of a bias that a repair gave to `layer`: one for each of its outputs, around 0."""
    values, zero = (found.tensors.get(key) for key in (stored.input[0], (*stored.input, "")[2]))
    outputs = outputs_of(layer, shape_of(expected, layer.input[1])) if made(expected, layer.input[1]) else 0
    right = values is not None and values.dtype == TensorProto.INT32 and tuple(values.shape) == (outputs,)
    if not right or (zero is not None and np.any(zero.array())):
        raise VerificationError(f"the bias that the file adds to node {name!r} is not one 32-bit number per output")


def new_scale(before: NodeProto, after: NodeProto, expected: Graph, found: Model) -> str | None:
    """The scale of its own that a repair gave to a node that others shared it with; None if they differ otherwise."""
    if before.domain or before.op_type not in (ROUND, UNDO) or len(after.input) < 2:
        return None
    restored = NodeProto()
    restored.CopyFrom(after)
    restored.input[1] = before.input[1]
    new, tensor = after.input[1], found.tensors.get(after.input[1])
    old = expected.constants.get(before.input[1])
    if restored != before or new in expected.constants or tensor is None or old is None:
        return None
    return new if tensor.dtype == old.dtype and tuple(tensor.shape) == old.shape else None


def check_scales(expected: Graph, found: Graph) -> None:
    """New scales are positive numbers, and those of biases that are products of two others still are. Raises
    VerificationError.
    """
    before = {node.outputs[0]: node for node in expected.nodes if node.outputs}
    for node in found.nodes:
        label = repr(node.label)
        if node.op_type in (ROUND, UNDO) and not node.domain:
            scale = _scale(found, node)
            new = scale is not None and (scale != _scale(expected, before.get(node.outputs[0])))
            if scale is not None and not (np.isfinite(scale) & (scale > 0) | ~np.asarray(new)).all():
                raise VerificationError(f"node {label} of the file has a scale that is not a positive number")
        if node.op_type in OUTPUTS and not node.domain:
            old, new = before.get(node.outputs[0]), _apart(found, node)
            was = None if old is None else _apart(expected, old)
            if new is not None and new > CLOSE and (was is None or was <= CLOSE):
                raise VerificationError(
                    f"the bias of node {label} of the file is in other steps than those of its input times its weight"
                )


def _scale(graph: Graph, node: Node | None) -> NDArray[np.float64] | None:
    """Of a node that rounds or undoes that, if it is known."""
    constant = None if node is None else graph.constants.get(node.inputs[1])
    return None if constant is None else constant.array().astype(np.float64)


def _apart(graph: Graph, layer: Node) -> float | None:
    """How far the scale of a bias is from the product of the two others, relative to it; None if one is missing."""
    undos = [_undo(graph, layer.inputs[slot]) for slot in range(min(len(layer.inputs), BIAS + 1))]
    if len(undos) <= BIAS or any(undo is None for undo in undos):
        return None
    x, w, b = (folded(graph, undo.inputs[1]).astype(np.float64) for undo in undos if undo is not None)
    if x.size != 1 or b.ndim > 1 or w.ndim > 1 or b.size % w.size:
        return None
    product = float(x.reshape(())) * float(layer.attribute("alpha", 1.0)) * np.resize(w, b.shape)
    away = np.abs(b - product)
    apart = np.where(away > 0, np.inf, 0.0)  # of a product that is zero
    np.divide(away, np.abs(product), out=apart, where=product != 0)
    return float(np.max(apart, initial=0.0))


def _undo(graph: Graph, key: str) -> Node | None:
    """The node that makes numbers of integers, by a scale that is known."""
    producer = graph.producer.get(key)
    node = None if producer is None else graph.nodes[producer]
    plain = node is not None and node.op_type == UNDO and not node.domain
    return node if node is not None and plain and is_computed(graph, node.inputs[1]) else None
