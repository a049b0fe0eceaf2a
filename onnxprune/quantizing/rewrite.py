"""Quantisers around the chosen nodes, written by onnxruntime.quantization on grids that are given."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxprune.errors import ModelError
from onnxprune.model.graph import Graph
from onnxprune.model.grids import Grid
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model, load
from onnxprune.model.names import taken
from onnxprune.quantizing.compact import compact

INFERRED = {"onnx.infer": "onnxruntime.quant"}
"""Tells the library that shapes are inferred: it would write the model into a file otherwise."""
NAME = "onnxprune.node."


def with_quantisers(
    graph: Graph,
    facts: Facts,
    nodes: Collection[int],
    activations: Mapping[str, Grid],
    weights: Mapping[str, Grid],
    *,
    numbers: bool = False,
) -> Model:
    """The model with these nodes between QuantizeLinear and DequantizeLinear, weights and biases as integers.

    `activations`: a grid for every float value that a node reads or gives; `weights`: for every weight.
    `numbers`: nodes are called by their numbers in the graph (see `numbered`). Raises ModelError above 2 GB, which the
    library does not take.
    """
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    touched = {key for index in nodes for key in (*graph.nodes[index].inputs, *graph.nodes[index].outputs)}
    activations = {key: grid for key, grid in activations.items() if key in touched}
    weights = {key: grid for key, grid in weights.items() if key in touched}
    proto, chosen, named = _named(graph, nodes)
    _described(proto, graph, facts)
    dummy = np.float32(-1), np.float32(1)
    data = {key: TensorData(lowest=dummy[0], highest=dummy[1]) for key in activations}
    one = next(iter(activations.values())).dtype
    options = {
        "TensorQuantOverrides": {name: _override(grid) for name, grid in {**activations, **weights}.items()},
        "ForceQuantizeNoInputCheck": True,
        "QDQDisableWeightAdjustForInt32Bias": True,
    }
    types = sorted({node.op_type for node in graph.nodes if node.index in nodes})
    kind = next(iter(weights.values())).dtype if weights else TensorProto.INT8
    with _quiet():
        try:
            writer = QDQQuantizer(
                proto,
                True,
                False,
                _type(kind),
                _type(one),
                TensorsData(CalibrationMethod.MinMax, data),
                chosen,
                [],
                types,
                options,
            )
            writer.quantize_model()
        except (ValueError, TypeError, KeyError, IndexError, AssertionError, RuntimeError) as error:
            raise ModelError(f"onnxruntime.quantization cannot quantise the model: {error}") from error
    return _result(graph.model, writer.model.model, {} if numbers else named)


def numbered(graph: Graph) -> onnx.ModelProto:
    """A complete copy in which every node at the top level is called NAME and its number in the graph."""
    return _named(graph, ())[0]


def _type(dtype: int) -> Any:
    from onnxruntime.quantization import QuantType

    return next(one for one in QuantType if one.tensor_type == dtype)


def _override(grid: Grid) -> list[dict[str, Any]]:
    kind = _type(grid.dtype)
    if grid.axis is None:
        return [{"quant_type": kind, "scale": grid.scale, "zero_point": grid.zero_point}]
    pairs = zip(grid.scale.ravel(), grid.zero_point.ravel(), strict=True)
    return [{"quant_type": kind, "axis": grid.axis, "scale": s, "zero_point": z} for s, z in pairs]


def _named(graph: Graph, nodes: Collection[int]) -> tuple[onnx.ModelProto, list[str], dict[str, str]]:
    """A complete copy whose nodes have names, each its own; the names of the chosen ones; new name -> old name."""
    proto = graph.model.complete_proto()
    places = [node for node in graph.nodes if node.scope == 0]
    named: dict[str, str] = {}
    chosen: list[str] = []
    for node, copy in zip(places, proto.graph.node, strict=True):
        name = f"{NAME}{node.index}"
        named[name], copy.name = copy.name, name
        if node.index in nodes:
            chosen.append(name)
    return proto, chosen, named


def _described(proto: onnx.ModelProto, graph: Graph, facts: Facts) -> None:
    """The element types that the library asks for, as far as they are known."""
    for key, value in INFERRED.items():
        proto.metadata_props.add(key=key, value=value)
    outer = {value.name for value in (*proto.graph.input, *proto.graph.output)}
    del proto.graph.value_info[:]
    for node in proto.graph.node:
        for key in node.output:
            if key and key not in outer and key in facts.dtypes:
                shape = facts.shapes.get(key)
                proto.graph.value_info.append(helper.make_tensor_value_info(key, facts.dtypes[key], shape))


def _result(model: Model, proto: onnx.ModelProto, named: Mapping[str, str]) -> Model:
    """What the library wrote, with the names and the descriptions of the file."""
    for node in proto.graph.node:
        node.name = named.get(node.name, node.name)
    metadata = [entry for entry in proto.metadata_props if entry.key not in INFERRED]
    del proto.metadata_props[:]
    proto.metadata_props.extend(metadata)
    there = {value.name for value in proto.graph.value_info}
    kept = [value for value in model.proto.graph.value_info if value.name in there]  # sizes that were assumed go
    del proto.graph.value_info[:]
    proto.graph.value_info.extend(kept)
    compact(proto, taken(model.proto, model.tensors))
    loaded = load(proto)
    result = onnx.ModelProto()
    result.CopyFrom(loaded.proto)
    return model.replace(result, loaded.tensors)


@contextmanager
def _quiet() -> Iterator[None]:
    """The library warns through the root logger of what is decided here."""
    logger = logging.getLogger()
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
