"""Static quantisation: grids from what the samples show, and the network between quantisers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import Grid
from onnxprune.quantizing.ranges import Histogram, least_error, min_max, percentile

Range = tuple[float, float]
RANGES = {"least-error": least_error, "min-max": min_max, "percentile": percentile}
MOST_BIAS = 2.0**30
TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Types:
    """ONNX element types of activations and weights. `reduced`: weights of 7 bits, so that sums of products of two
    bytes do not saturate on x86 processors without VNNI."""

    activations: int = TensorProto.UINT8
    weights: int = TensorProto.INT8
    reduced: bool = False


def activation_grid(low: float, high: float, dtype: int = TensorProto.UINT8) -> Grid:
    """The grid over [low, high] and 0. Of a rectifier's output nothing below 0 is on it, also with signed types: the
    rectifier before it is then part of the grid.
    """
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(dtype))
    bounds = np.iinfo(kind)
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / (int(bounds.max) - int(bounds.min))
    if scale <= TINY:
        return Grid(dtype, np.array(1.0, np.float32), np.array(bounds.min, kind))
    stored = np.float32(scale)
    zero = int(np.clip(np.rint(bounds.min - low / float(stored)), bounds.min, bounds.max))
    return Grid(dtype, np.array(stored), np.array(zero, kind))


def weight_grid(weight: NDArray[Any], axis: int | None, types: Types = Types()) -> Grid:
    """Symmetric, all of the weight inside; per channel along `axis`."""
    kind = np.dtype(helper.tensor_dtype_to_np_dtype(types.weights))
    most = 63 if types.reduced else 127
    others = None if axis is None else tuple(k for k in range(weight.ndim) if k != axis % weight.ndim)
    largest = np.asarray(np.max(np.abs(weight.astype(np.float64)), axis=others, initial=0.0))
    scale = (np.where(largest > TINY * most, largest, most) / most).astype(np.float32)
    if scale.size == 1:  # of a single channel files have one scale for all
        axis, scale = None, scale.reshape(())
    zero = np.full(scale.shape, 128 if kind == np.uint8 else 0, kind)
    return Grid(types.weights, scale, zero, axis)


def fitting_biases(
    graph: Graph, nodes: Collection[int], values: Mapping[str, Grid], weights: Mapping[str, Grid]
) -> dict[str, Grid]:
    """The grids of weights with scales so large that biases, on the scale s_x s_w, fit into 32 bits: of a channel whose
    weights are nearly zero the bias would be cut off.
    """
    result = dict(weights)
    for node in graph.nodes:
        held = len(node.inputs) > 2 and node.inputs[2] in graph.model.tensors
        if node.index not in nodes or not held or node.inputs[1] not in result or node.inputs[0] not in values:
            continue
        grid, bias = result[node.inputs[1]], np.abs(graph.model.tensors[node.inputs[2]].array().astype(np.float64))
        least = bias / (float(values[node.inputs[0]].scale) * MOST_BIAS)
        least = np.asarray(least.max() if grid.axis is None else least).reshape(grid.scale.shape)
        scale = np.maximum(grid.scale, least).astype(np.float32)
        result[node.inputs[1]] = replace(grid, scale=scale)
    return result


def weight_axis(node: Node, rank: int) -> int | None:
    """The axis of output channels; None where the kernels have one scale for all."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "Gemm":
        return 0 if node.attribute("transB", 0) else 1
    return 1 if rank == 2 else None


def activation_grids(
    found: Mapping[str, Histogram], method: str = "least-error", dtype: int = TensorProto.UINT8
) -> dict[str, Grid]:
    """A grid for every value, by the range that `method` gives."""
    return {key: activation_grid(*RANGES[method](one), dtype) for key, one in found.items()}


def weight_grids(graph: Graph, nodes: Collection[int], types: Types = Types()) -> dict[str, Grid]:
    """A grid for every weight that the chosen nodes read."""
    found: dict[str, Grid] = {}
    for node in graph.nodes:
        if node.index in nodes and len(node.inputs) > 1 and node.op_type in ("Conv", "Gemm", "MatMul"):
            key = node.inputs[1]
            if key in graph.model.tensors:
                weight = graph.model.tensors[key].array()
                found[key] = weight_grid(weight, weight_axis(node, weight.ndim), types)
    return found
