"""Merging without data: what a removed filter gave, a kept one of the same direction gives for it.

Filter i with its bias and normalisation computes w_i . x + b_i. Where only functions f with f(s x) = s f(x) for s >= 0
follow (Relu, pooling), a kept filter j of the same direction stands in for it:

    f(w_i x + b_i) ~ z f(w_j x + b_j),   z = |w_i| / |w_j|,   so its readers add z times the weights of i to those of j.

The stand-in is the kept filter of the largest cosine (Kim et al., Neuron Merging: Compensating for Pruned Neurons,
NeurIPS 2020), if that is large enough: `LEAST` where the means are known, for then what is left on average goes into
biases (`bias.py`), `LEAST_UNKNOWN` where they are not. A filter without weights is a constant: biases alone take it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.folding import folded
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.plain import settable
from onnxprune.model.undo import made
from onnxprune.repair.bias import correct_biases, losers
from onnxprune.repair.moments import Moments, moments
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
HOMOGENEOUS = frozenset({"Relu", "LeakyRelu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity", "Dropout"})
LEAST, LEAST_UNKNOWN = 0.45, 0.7
MOST_STEPS = 8


@dataclass(frozen=True)
class Merged:
    """The repaired model, the layers that changed, and those that lost channels of which nothing is known, by name."""

    model: Model
    layers: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def corrected(self) -> int:
        return len(self.layers)


def merge(trace: Trace, keep: Bools, cut: Model, *, known: Mapping[str, Moments] | None = None) -> Merged:
    """Distribute the weights of removed inputs onto kept ones, then correct biases. `cut` is the cut of `trace`.

    `known`: as in `correct_biases`.
    """
    tensors, graph = dict(cut.tensors), build(cut)
    known = moments(trace) if known is None else known
    nodes = {n.proto.output[0]: n for n in graph.nodes if n.scope == 0 and n.proto.output}
    stand_ins: dict[str, FloatArray] = {}
    changed: set[str] = set()
    for closing in trace.closings:
        node = trace.graph.nodes[closing.node]
        gone = ~keep[closing.labels]
        if not _dense(node) or closing.slot != 0 or not gone.any() or gone.all():
            continue
        target = nodes.get(node.proto.output[0])
        filters = filters_behind(trace.graph, node.inputs[0])
        if target is None or filters is None or len(filters) != len(gone) or not _own(graph, target.inputs[1]):
            continue
        means = known.get(node.inputs[0])
        certain = means is not None and not np.isnan(means.mean).any()
        weights = stand_in(filters, gone, LEAST if certain else LEAST_UNKNOWN)
        extra = _moved(trace, keep, node, gone, weights)
        old = tensors[target.inputs[1]]
        if extra is None or extra.shape != old.shape:
            continue
        array = old.array()
        tensors[target.inputs[1]] = old.with_array((array.astype(np.float64) + extra).astype(array.dtype))
        stand_ins[node.inputs[0]] = weights
        changed.add(node.label)
    found = correct_biases(trace, keep, cut.replace(cut.proto, tensors), known=known, stand_ins=stand_ins)
    unknown = tuple(name for name in found.unknown if name not in changed)
    layers = tuple(
        dict.fromkeys(node.label for node, _ in losers(trace, keep) if node.label in changed | {*found.layers})
    )
    return Merged(found.model, layers, unknown)


def _moved(trace: Trace, keep: Bools, node: Node, gone: Bools, weights: FloatArray) -> FloatArray | None:
    """What the weight of the cut layer gets from the inputs that it lost."""
    if not weights.any() or made(trace.graph, node.inputs[1]) is None:
        return None
    axis = _input_axis(node)
    whole = np.moveaxis(folded(trace.graph, node.inputs[1]).astype(np.float64), axis, 0)
    rows = _output_labels(trace, node)
    if rows is not None:
        whole = np.compress(keep[rows], whole, axis=1)
    return np.asarray(np.moveaxis(np.tensordot(weights[:, ~gone].T, whole[gone], 1), 0, axis), np.float64)


def stand_in(filters: FloatArray, gone: Bools, least: float) -> FloatArray:
    """(removed, n): by how much each kept filter (n, d), its bias last, stands in for each that is removed."""
    length = np.linalg.norm(filters, axis=1)
    unit = filters / np.maximum(length, 1e-30)[:, None]
    cosine = unit[gone] @ unit.T
    cosine[:, gone] = -np.inf
    cosine[~filters[gone, :-1].any(axis=1)] = -np.inf
    best = cosine.argmax(axis=1)
    one = np.arange(len(best))
    found = cosine[one, best] >= least
    result = np.zeros_like(cosine)
    result[one[found], best[found]] = (length[gone] / np.maximum(length[best], 1e-30))[found]
    return np.asarray(result, np.float64)


def filters_behind(graph: Graph, key: str) -> FloatArray | None:
    """(n, d) the filters, with their biases and normalisation, whose outputs reach `key` unbent; None if others do."""
    scale, shift = None, None
    for _ in range(MOST_STEPS):
        index = graph.producer.get(key)
        node = None if index is None else graph.nodes[index]
        if node is None or node.domain:
            return None
        if node.op_type == "BatchNormalization" and scale is None:
            parameters = [graph.constants.get(k) for k in node.inputs[1:5]]
            if any(p is None for p in parameters):
                return None
            gamma, beta, mean, variance = (p.array().astype(np.float64) for p in parameters if p is not None)
            scale = gamma / np.sqrt(variance + node.attribute("epsilon", 1e-5))
            shift = beta - mean * scale
        elif node.op_type in ("Conv", "Gemm"):
            return _filters(graph, node, scale, shift)
        elif node.op_type not in HOMOGENEOUS or scale is not None:
            return None
        key = node.inputs[0]
    return None


# ---- inner -----------------------------------------------------------------------------------------------------
def _filters(graph: Graph, node: Node, scale: FloatArray | None, shift: FloatArray | None) -> FloatArray | None:
    if node.attribute("group", 1) != 1 or made(graph, node.inputs[1]) is None:
        return None
    weight = folded(graph, node.inputs[1]).astype(np.float64)
    rows = weight if node.op_type == "Conv" or node.attribute("transB", 0) else weight.T
    rows = rows.reshape(len(rows), -1)
    bias = np.zeros(len(rows))
    if len(node.inputs) > 2 and node.inputs[2]:
        if made(graph, node.inputs[2]) is None:
            return None
        bias = np.broadcast_to(folded(graph, node.inputs[2]).astype(np.float64).ravel(), (len(rows),))
    if scale is not None and shift is not None:
        rows, bias = rows * scale[:, None], bias * scale + shift
    return np.concatenate([rows, bias[:, None]], axis=1)


def _dense(node: Node) -> bool:
    """A layer of one group that sums over the channels of its input."""
    return (
        node.scope == 0
        and not node.domain
        and (
            (node.op_type == "Conv" and node.attribute("group", 1) == 1)
            or (node.op_type == "Gemm" and not node.attribute("transA", 0))
        )
    )


def _own(graph: Graph, key: str) -> bool:
    return key in graph.model.tensors and settable(graph, key) and len(graph.consumers.get(key, ())) == 1


def _input_axis(node: Node) -> int:
    return 1 if node.op_type == "Conv" or node.attribute("transB", 0) else 0


def _output_labels(trace: Trace, node: Node) -> NDArray[np.int64] | None:
    axes = trace.axes(node.outputs[0])
    return axes[1] if len(axes) > 1 else None
