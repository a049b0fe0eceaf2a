"""Scales that grow together, when the new values of weights do not fit into their integers.

A runtime that computes a layer in integers adds its 32-bit bias to sums of products: it takes for granted that one step
of the bias is one of the input times one of the weight, whatever scale the file gives. So the scale of a bias follows
that of its weight, and a bias that is too large for 32 bits takes that of its weight with it. A layer that was given a
bias gets one in such steps: next to one in float it would not be computed in integers at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.model.folding import folded, is_computed
from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import Grid
from onnxprune.model.undo import UNDO, Made

Array = NDArray[Any]
BIAS = 2
OUTPUTS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1}
"""The axis of the weight that has the outputs; of a Gemm with transB it is 0."""


@dataclass(frozen=True)
class Regrown:
    """`grids`: by DequantizeLinear, those that grew. `biases`: by name, those of the biases that were added."""

    grids: Mapping[int, Grid] = field(default_factory=dict)
    biases: Mapping[str, Grid] = field(default_factory=dict)


def regrown(graph: Graph, ways: Mapping[str, Made], arrays: Mapping[str, Array], added: Mapping[int, str]) -> Regrown:
    """`arrays`: new values of all keys of `ways`, and of the biases that were `added` (by layer, their names)."""
    old = {key: grid for key, way in ways.items() if (grid := way.last_grid) is not None}
    new = {key: grid.grown(arrays[key]) for key, grid in old.items()}
    biases: dict[str, Grid] = {}
    for key, layers in _layers(graph, old, arrays).items():
        tied, free = _tied(graph, layers, old, added)
        factor = _factor(new[key], old[key]) if free else np.ones(old[key].scale.shape)
        for name, grid in tied.items() if free else ():
            more = _factor(grid.grown(arrays[name]), grid)
            factor = np.maximum(factor, more.reshape(-1, *factor.shape).max(axis=0))
        new[key] = old[key].scaled(factor)
        for name, grid in tied.items():
            (new if name in old else biases)[name] = grid.scaled(np.resize(factor, grid.scale.shape))
    grown = {ways[key].nodes[-1].index: grid for key, grid in new.items() if grid is not old[key]}
    return Regrown(grown, biases)


def _tied(
    graph: Graph, layers: Sequence[Node], grids: Mapping[str, Grid], added: Mapping[int, str]
) -> tuple[dict[str, Grid], bool]:
    """The biases of layers of one weight that follow its scale, and whether all of them can."""
    found, free = dict[str, Grid](), True
    for node in layers:
        weight, name = grids[node.inputs[1]], _bias(node, added)
        grid = _steps(graph, node, weight) if node.index in added else grids.get(name)
        alone = len(graph.consumers.get(name, ())) < 2
        if grid is not None and grid.dtype == TensorProto.INT32 and _fits(grid, weight) and alone:
            found[name] = grid
        elif _is_undone(graph, name):
            free = False
    return found, free


def _layers(graph: Graph, grids: Mapping[str, Grid], arrays: Mapping[str, Array]) -> dict[str, list[Node]]:
    """By weight, the layers that multiply with it, if it has one scale for all or for each output."""
    found: dict[str, list[Node]] = {}
    for node in graph.nodes:
        grid = grids.get(node.inputs[1]) if node.op_type in OUTPUTS and not node.domain else None
        if grid is None:
            continue
        axis = 0 if node.op_type == "Gemm" and node.attribute("transB", 0) else OUTPUTS[node.op_type]
        if grid.axis is None or (not grid.block and grid.axis % arrays[node.inputs[1]].ndim == axis):
            found.setdefault(node.inputs[1], []).append(node)
    return found


def _bias(node: Node, added: Mapping[int, str]) -> str:
    return added.get(node.index) or (node.inputs[BIAS] if len(node.inputs) > BIAS else "")


def _is_undone(graph: Graph, key: str) -> bool:
    """Whether `key` comes from integers."""
    producer = graph.producer.get(key)
    return producer is not None and graph.nodes[producer].op_type == UNDO and is_computed(graph, key)


def _steps(graph: Graph, node: Node, weight: Grid) -> Grid | None:
    """The grid that a new bias of a layer gets; None if its input is not one of integers."""
    producer = graph.producer.get(node.inputs[0])
    undo = None if producer is None else graph.nodes[producer]
    if undo is None or undo.op_type != UNDO or undo.domain or not is_computed(graph, undo.inputs[1]):
        return None
    step = folded(graph, undo.inputs[1])
    if step.size != 1:
        return None
    alpha = np.float32(node.attribute("alpha", 1.0))
    scale = np.asarray(step.reshape(()).astype(np.float32) * alpha * weight.scale, np.float32)
    if weight.axis is None:
        return Grid(TensorProto.INT32, scale, np.zeros((), np.int32))
    if node.op_type == "ConvTranspose":
        scale = np.tile(scale, node.attribute("group", 1))
    return Grid(TensorProto.INT32, scale, np.zeros(scale.shape, np.int32), 0)


def _fits(bias: Grid, weight: Grid) -> bool:
    """Whether the scales of a bias are one for each of the weight's, or for each in turn in all groups."""
    return bias.scale.ndim <= 1 and bias.scale.size % weight.scale.size == 0


def _factor(new: Grid, old: Grid) -> Array:
    """In the shape of the scale."""
    return np.asarray(new.scale.astype(np.float64) / old.scale.astype(np.float64))
