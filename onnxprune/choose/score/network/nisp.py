"""Importance of the outputs, carried back to every unit: s_in = |W|' s_out through a layer y = W x.

Each index of a network output has importance 1 (the paper ranks the last responses by inf-FS on data first; here no
data is needed). Going back through the graph, a layer with a plain weight hands the importance of its outputs on to its
inputs in proportion to |W|, summed over kernel positions; a batch normalisation or a depthwise convolution right behind
the layer scales it. Element-wise operators and data movement keep indices as they are, which the trace knows: what it
ties shares one importance, so a residual stream collects what all of its later readers say. Where indices are summed
without a weight (a product of activations, a mean over channels), each gets the same part of the whole.

Sums are kept as logarithms: importance grows by orders of magnitude per layer. Scores are relative to the largest of
their group; between groups they do not compare.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.network.registry import Network, network_criterion
from onnxprune.choose.score.registry import FloatArray, Needs
from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Node
from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import IntArray
from onnxprune.trace.ops.registry import MICROSOFT

NOTHING = -np.inf
FINAL = ("a graph output", "an output of a subgraph")
CONVOLUTIONS = ("Conv", "FusedConv")
PRODUCTS = ("Gemm", "FusedGemm")
LAYERS = frozenset({*CONVOLUTIONS, *PRODUCTS, "ConvTranspose", "MatMul"})


@network_criterion("nisp", needs=Needs.WEIGHTS, source="Yu et al., NISP, CVPR 2018")
def nisp(network: Network) -> list[FloatArray]:
    """Importance of the outputs, carried back through the absolute weights."""
    trace = network.trace
    importance = _Importance(trace)
    for node in reversed(trace.graph.nodes):
        importance.back(node)
    unit = np.full(trace.unit_count, NOTHING)
    np.maximum.at(unit, trace.table, importance.atoms)  # only roots hold any
    return [_relative(unit[group.units]) for group in network.groups]


def _relative(logs: FloatArray) -> FloatArray:
    most = logs.max(initial=NOTHING)
    return np.zeros(len(logs)) if most == NOTHING else np.exp(logs - most)


class _Importance:
    """Logarithms of the importance of all that lies behind the nodes visited so far.

    `atoms` holds it for each class of tied indices, at its root; `values` for values whose indices have no labels.
    """

    def __init__(self, trace: Trace) -> None:
        self.trace = trace
        self._roots = trace.state.atoms.roots()
        self.atoms = np.full(len(self._roots), NOTHING)
        self.values: dict[str, float] = {}
        for key, reason in trace.graph.fixed.items():
            if reason in FINAL:
                labels = [roots for roots in self._axes(key) if roots is not None]
                for roots in labels:
                    self.atoms[roots[roots > 0]] = 0.0
                if not labels:
                    self.values[key] = 0.0

    def back(self, node: Node) -> None:
        """From the outputs of a node to its inputs."""
        weight = _absolute_weight(self.trace, node)
        if weight is not None:
            self._through(node, weight)
        whole = np.logaddexp.reduce([self._total(key) for key in node.outputs if key] or [NOTHING])
        if whole == NOTHING:
            return
        after = self._present(node.outputs)
        for slot, key in enumerate(node.inputs):
            if not key or key in self.trace.graph.constants or (slot == 0 and weight is not None):
                continue
            labels = [roots for roots in self._axes(key) if roots is not None]
            if not labels:
                self.values[key] = float(np.logaddexp(self.values.get(key, NOTHING), whole))
            for roots in labels:
                if not after[roots[roots > 0]].any():  # summed over
                    self._add(roots, np.full(roots.size, whole - np.log(roots.size)))

    def _through(self, node: Node, weight: FloatArray) -> None:
        """weight (blocks, inputs of a block, outputs of a block), absolute."""
        blocks, _, outputs = weight.shape
        x_axis, y_axis = _channel_axes(node)
        behind = self._of_indices(node.outputs[0], y_axis, blocks * outputs)
        with np.errstate(divide="ignore"):
            behind = behind + np.log(_scale_behind(self.trace, node, y_axis, len(behind)))
            most = behind.max(initial=NOTHING)
            if most == NOTHING:
                return
            part = np.exp(behind - most).reshape(blocks, outputs)
            before = np.log(np.einsum("gio,go->gi", weight, part)).ravel() + most
        labels = self._axes(node.inputs[0])
        roots = labels[x_axis] if labels else None
        if roots is None:
            key = node.inputs[0]
            self.values[key] = float(np.logaddexp(self.values.get(key, NOTHING), np.logaddexp.reduce(before)))
        else:
            self._add(roots, before)

    def _of_indices(self, key: str, axis: int, size: int) -> FloatArray:
        """(size,) importance of each index; several indices of one unit share it equally."""
        labels = self._axes(key)
        roots = labels[axis] if labels else None
        equal = np.full(size, self._total(key) - np.log(size))
        if roots is None:
            return equal
        _, place, count = np.unique(roots, return_inverse=True, return_counts=True)
        return np.where(roots > 0, self.atoms[roots] - np.log(count[place.ravel()]), equal)

    def _total(self, key: str) -> float:
        """Importance of a value as a whole."""
        found = [np.logaddexp.reduce(self.atoms[np.unique(r[r > 0])]) for r in self._axes(key) if r is not None]
        return float(max([self.values.get(key, NOTHING), *found]))

    def _add(self, roots: IntArray, logs: FloatArray) -> None:
        known = roots > 0
        np.logaddexp.at(self.atoms, roots[known], logs[known])

    def _present(self, keys: tuple[str, ...]) -> NDArray[np.bool_]:
        found = np.zeros(len(self.atoms), bool)
        for key in keys:
            for roots in self._axes(key):
                if roots is not None:
                    found[roots] = True
        return found

    def _axes(self, key: str) -> list[IntArray | None]:
        axes = self.trace.state.axes.get(key, ())
        return [None if labels is None or not labels.any() else self._roots[labels] for labels in axes]


def _absolute_weight(trace: Trace, node: Node) -> FloatArray | None:
    """(blocks, inputs, outputs) sums of |W| over kernel positions; None for what is no layer with a plain weight.

    Depthwise convolutions are none: their outputs are tied to their inputs.
    """
    if node.op_type not in LAYERS or node.domain not in ("", MICROSOFT) or not is_computed(trace.graph, node.inputs[1]):
        return None
    weight: FloatArray = np.abs(folded(trace.graph, node.inputs[1]).astype(np.float64))
    if node.op_type == "MatMul":
        return weight[None] if weight.ndim == 2 else None
    if node.op_type in PRODUCTS:
        return (weight.T if node.attribute("transB", 0) else weight)[None]
    group = int(node.attribute("group", 1))
    taps: FloatArray = weight.reshape(*weight.shape[:2], -1).sum(axis=2)
    if (group > 1 and taps.shape[1] == 1) or len(taps) % group:
        return None
    blocks = taps.reshape(group, -1, taps.shape[1])
    return blocks.transpose(0, 2, 1) if node.op_type in CONVOLUTIONS else blocks


def _channel_axes(node: Node) -> tuple[int, int]:
    """Channel axes of input and output."""
    if node.op_type == "MatMul":
        return -1, -1
    return (0 if node.op_type in PRODUCTS and node.attribute("transA", 0) else 1), 1


def _scale_behind(trace: Trace, node: Node, axis: int, size: int) -> FloatArray:
    """(size,) by what batch normalisations and depthwise convolutions multiply the outputs, before anyone else reads.

    Looks through operators with a single input, which leave indices where they are.
    """
    graph, factor, key = trace.graph, np.ones(size), node.outputs[0]
    while len(readers := graph.consumers.get(key, [])) == 1 and key not in graph.fixed and axis == 1:
        reader = graph.nodes[readers[0][0]]
        if readers[0][1] != 0 or reader.domain or reader.scope != node.scope:
            break
        if reader.op_type == "BatchNormalization" and all(k in graph.constants for k in reader.inputs[1:5]):
            scale, _, _, variance = (graph.constants[k].array().astype(np.float64) for k in reader.inputs[1:5])
            factor *= np.abs(scale) / np.sqrt(variance + reader.attribute("epsilon", 1e-5))
        elif reader.op_type == "Conv" and reader.attribute("group", 1) == size and reader.inputs[1] in graph.constants:
            weight = graph.constants[reader.inputs[1]].array().astype(np.float64)
            if len(weight) != size:
                break
            factor *= np.abs(weight).reshape(size, -1).sum(axis=1)
        elif len(reader.inputs) != 1 or not _same(trace, key, reader.outputs[0]):
            break
        key = reader.outputs[0]
    return factor


def _same(trace: Trace, before: str, after: str) -> bool:
    """Are the channels of two values the same indices, on axis 1 of both?"""
    a, b = (trace.state.axes.get(key, []) for key in (before, after))
    if len(a) != len(b) or len(a) < 2:
        return False
    first, second = a[1], b[1]
    return first is not None and second is not None and np.array_equal(first, second)
