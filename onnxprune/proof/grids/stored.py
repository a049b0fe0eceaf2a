"""The quantisers of a file: which values they round, to which grids, and whether these are what a plan says."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from onnxprune.errors import VerificationError
from onnxprune.model.graph import Graph, Node
from onnxprune.model.grids import Grid, grid_of
from onnxprune.results.plan import QuantizationPlan

TYPES: Mapping[int, str] = {
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.UINT16: "uint16",
    TensorProto.INT16: "int16",
    TensorProto.UINT4: "uint4",
    TensorProto.INT4: "int4",
    TensorProto.INT32: "int32",
}


@dataclass(frozen=True)
class Stored:
    """`values`: value (as the original calls it) -> its grid; `integers`: value -> the output of its quantiser;
    `rounded`: what readers read -> value. `weights`: what a layer reads -> its grid.
    """

    values: Mapping[str, Grid]
    integers: Mapping[str, str]
    rounded: Mapping[str, str]
    weights: Mapping[str, Grid]


def digest(grid: Grid) -> str:
    """Of the scales and zero points: see `WeightGrid`."""
    scales = np.ascontiguousarray(grid.scale, np.float32).tobytes()
    zeros = np.ascontiguousarray(grid.zero_point.astype(np.int32)).tobytes()
    return hashlib.sha256(scales + zeros).hexdigest()[:16]


def stored(graph: Graph) -> Stored:
    """All quantisers of a file. Raises VerificationError for scales that are no positive numbers, for shapes that do
    not fit, and for pairs that are not on one grid.
    """
    outputs = {value.name for value in graph.model.proto.graph.output}
    values: dict[str, Grid] = {}
    integers: dict[str, str] = {}
    rounded: dict[str, str] = {}
    weights: dict[str, Grid] = {}
    for node in graph.nodes:
        if node.domain or node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        grid = _checked(graph, node)
        if node.op_type == "DequantizeLinear" and node.inputs[0] in graph.constants:
            weights[node.outputs[0]] = grid
        elif node.op_type == "QuantizeLinear":
            readers = [graph.nodes[index] for index, _ in graph.consumers.get(node.outputs[0], ())]
            given = [reader.outputs[0] for reader in readers if reader.op_type == "DequantizeLinear"]
            if not readers or len(given) != len(readers):
                raise VerificationError(f"the integers of {node.label!r} are read by other nodes than DequantizeLinear")
            for reader in readers:
                if not _same(grid, _checked(graph, reader)):
                    raise VerificationError(f"{reader.label!r} does not read on the grid that {node.label!r} writes")
            value = next((key for key in given if key in outputs), node.inputs[0])
            values[value], integers[value] = grid, node.outputs[0]
            rounded |= dict.fromkeys(given, value)
    return Stored(values, integers, rounded, weights)


def require_planned(found: Stored, plan: QuantizationPlan) -> None:
    """Raises VerificationError where activations are not on the grids of the plan."""
    planned = {one.value: one for one in plan.values}
    for value, grid in found.values.items():
        one = planned.pop(value, None)
        if one is None:
            raise VerificationError(f"value {value!r} is rounded to integers, and the plan does not say so")
        said = (one.type, np.float32(one.scale), one.zero_point)
        there = (TYPES[grid.dtype], np.float32(grid.scale), int(grid.zero_point))
        if said != there:
            raise VerificationError(f"value {value!r} is on the grid {_words(*there)}, the plan says {_words(*said)}")
    if planned:
        raise VerificationError(f"value {next(iter(planned))!r} is not rounded to integers, and the plan says so")


def _words(kind: str, scale: np.float32, zero: int) -> str:
    return f"{kind}, scale {scale:.8g}, zero point {zero}"


def _checked(graph: Graph, node: Node) -> Grid:
    grid = grid_of(graph, node)
    if grid is None:
        raise VerificationError(f"scale and zero point of {node.label!r} are no constants, or no integers are made")
    scale = grid.scale
    if not np.isfinite(scale).all() or not (scale > 0).all():
        raise VerificationError(f"a scale of {node.label!r} is no positive number")
    if grid.zero_point.shape != scale.shape:
        raise VerificationError(f"scale and zero point of {node.label!r} have different shapes")
    source = graph.constants.get(node.inputs[0])
    if grid.axis is not None and source is not None:
        rank, axis = len(source.shape), grid.axis
        if not -rank <= axis < rank:
            raise VerificationError(f"axis {axis} of {node.label!r} is none of the {rank} of its input")
        size = source.shape[axis]
        wanted = -(-size // grid.block) if grid.block else size
        if scale.shape[axis if grid.block else 0] != wanted:
            raise VerificationError(f"{node.label!r} has {scale.size} scales for {wanted} indices of axis {axis}")
    return grid


def _same(one: Grid, other: Grid) -> bool:
    return (
        one.dtype == other.dtype
        and one.axis == other.axis
        and np.array_equal(one.scale, other.scale)
        and np.array_equal(one.zero_point, other.zero_point)
    )


def require_bias_scales(graph: Graph, found: Stored) -> None:
    """The scale of a bias must be that of the input times those of the weight: kernels add integers, and look at no
    other scale. Raises VerificationError.
    """
    for node in graph.nodes:
        if node.op_type not in ("Conv", "Gemm") or len(node.inputs) < 3 or node.inputs[2] not in found.weights:
            continue
        value, weight, bias = found.rounded.get(node.inputs[0]), found.weights.get(node.inputs[1]), node.inputs[2]
        if value is None or weight is None:
            raise VerificationError(f"node {node.label!r} has a bias of integers, and other inputs that are none")
        wanted = float(found.values[value].scale) * weight.scale.astype(np.float64)
        if not np.allclose(found.weights[bias].scale, wanted, rtol=1e-5, atol=0):
            raise VerificationError(f"the scales of the bias of {node.label!r} are not those of its input and weight")
