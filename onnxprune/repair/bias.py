"""Bias correction: what a removed channel contributed on average moves into the bias of its consumers.

    b' = b + sum over removed i of E[x_i] * sum_k W_ik

E[x_i] from moments.py, without data or measured. At zero-padded borders of a convolution the correction is slightly too
large; elsewhere it is exact for constant channels. Nagel et al., Data-Free Quantization Through Weight Equalization and
Bias Correction, ICCV 2019, use the same expectation.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.tensors import LazyTensor
from onnxprune.repair.moments import Moments, moments
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Corrections:
    """The repaired model, the layers that got a new bias, and those that lost channels of unknown mean, by name."""

    model: Model
    layers: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def corrected(self) -> int:
        return len(self.layers)


def correct_biases(
    trace: Trace,
    keep: Bools,
    cut: Model,
    *,
    only: Container[str] | None = None,
    known: Mapping[str, Moments] | None = None,
    stand_ins: Mapping[str, FloatArray] | None = None,
) -> Corrections:
    """Correct the biases of `cut`, the cut of `trace` by `keep`; with `only`, of the layers that it names.

    `known`: what channels are on average, by value; without, what the weights tell. `stand_ins`: by value, (removed, n)
    how much of each channel stands in for each that is removed (`merge.py`).
    """
    known = moments(trace) if known is None else known
    graph = build(cut)
    proto = onnx.ModelProto()
    proto.CopyFrom(cut.proto)
    tensors = dict(cut.tensors)
    names = taken(proto, tensors)
    by_output = {n.output[0]: n for n in proto.graph.node if n.output}
    corrected, unknown = [], []
    for node, labels in losers(trace, keep):
        if only is not None and node.label not in only:
            continue
        target = by_output.get(node.proto.output[0])
        covered = None if stand_ins is None else stand_ins.get(node.inputs[0])
        delta = _delta(trace, keep, node, labels, known.get(node.inputs[0]), covered)
        if delta is None or target is None:
            unknown.append(node.label)
        elif np.abs(delta).max() > 0 and _add(node, target, delta, trace, keep, graph, tensors, names):
            corrected.append(node.label)
    return Corrections(cut.replace(proto, tensors), tuple(corrected), tuple(unknown))


def losers(trace: Trace, keep: Bools) -> Iterator[tuple[Node, NDArray[np.int64]]]:
    """Convolutions of one group and Gemms that lose inputs, with the units of their inputs."""
    for closing in trace.closings:
        node = trace.graph.nodes[closing.node]
        plain = node.op_type == "Gemm" or (node.op_type == "Conv" and node.attribute("group", 1) == 1)
        if plain and closing.slot == 0 and not keep[closing.labels].all():
            yield node, closing.labels


def _delta(
    trace: Trace,
    keep: Bools,
    node: Node,
    labels: NDArray[np.int64],
    found: Moments | None,
    covered: FloatArray | None,
) -> FloatArray | None:
    """What the removed inputs contributed on average, per original output; None if some mean is unknown."""
    if found is None or found.mean.size != labels.size or not is_computed(trace.graph, node.inputs[1]):
        return None
    gone = ~keep[labels]
    if np.isnan(found.mean[gone]).any():
        return None
    weight = folded(trace.graph, node.inputs[1]).astype(np.float64)
    if node.op_type == "Gemm":
        matrix = weight if node.attribute("transB", 0) else weight.T
        matrix = matrix * node.attribute("alpha", 1.0) / (node.attribute("beta", 1.0) or 1.0)
    else:
        matrix = weight.reshape(*weight.shape[:2], -1).sum(axis=2)
    missing = found.mean[gone]
    if covered is not None:
        used = covered.any(axis=0)
        missing = missing - covered[:, used] @ found.mean[used]
        missing[np.isnan(missing)] = 0.0  # of a stand-in of unknown mean nothing is known to be missing
    return np.asarray(matrix[:, gone] @ missing, np.float64)


def _add(
    node: Node,
    target: onnx.NodeProto,
    delta: FloatArray,
    trace: Trace,
    keep: Bools,
    graph: Graph,
    tensors: dict[str, LazyTensor],
    names: set[str],
) -> bool:
    """Put the correction into the bias of the cut node: a tensor of its own, for no other layer may change.

    `graph` and `tensors` are those of the cut network, where an earlier repair may have given the node a bias; `names`
    are taken there.
    """
    axes = trace.axes(node.outputs[0])
    labels = axes[1] if len(axes) > 1 else None
    delta = delta if labels is None else delta[keep[labels]]
    has_bias = len(target.input) > 2 and bool(target.input[2])
    weight = tensors.get(target.input[1])
    fixed = len(node.inputs) > 2 and node.inputs[2] in trace.graph.fixed
    if weight is None or (has_bias and (target.input[2] not in tensors or fixed)):
        return False
    old = tensors[target.input[2]] if has_bias else None
    bias = delta if old is None else old.array().astype(np.float64) + delta  # Gemm: per column, whatever its shape
    if old is not None and old.shape == bias.shape and _only_use(graph, target.input[2]):
        name = target.input[2]
    else:
        name = fresh(f"{target.output[0]}.bias.corrected", names)
        del target.input[2:]
        target.input.append(name)
    dtype = weight.dtype
    tensors[name] = LazyTensor.from_array(name, bias if dtype == TensorProto.DOUBLE else bias.astype(np.float32), dtype)
    return True


def _only_use(graph: Graph, name: str) -> bool:
    outputs = {value.name for value in graph.model.proto.graph.output}
    return len(graph.consumers.get(name, ())) == 1 and name not in outputs
