"""Concrete shapes and element types of all values of a model, for feeds of known sizes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TypeProto

from onnxprune.capture.session import open_session
from onnxprune.model.cost import macs_of
from onnxprune.model.facts import Facts, complete
from onnxprune.model.graph import Graph

Shape = tuple[int, ...]


def concrete_shapes(
    proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, Shape], dict[str, int]]:
    """Shape and element type of every value of the top level, when the model runs on `feeds`.

    Shape inference with the sizes of the feeds gives most of them without running anything; what it leaves open is
    read off one run that returns those values only. Values that are not tensors are left out.
    """
    fixed, shapes, types = _inferred(proto, feeds)
    names = {name for node in fixed.graph.node for name in node.output if name}
    _measure(fixed, proto, feeds, sorted(name for name in names if name not in shapes), shapes, types)
    return shapes, types


def measured_shapes(graph: Graph, facts: Facts, feed: Mapping[str, NDArray[Any]]) -> dict[str, Shape]:
    """Shapes, in a run on `feed`, of the values whose sizes `facts` leaves open; none where it does not run."""
    heavy = [node for node in graph.nodes if macs_of(node, facts) is None and node.scope == 0]
    if not heavy:
        return {}
    keys = {
        key for node in heavy for key in (*node.inputs, *node.outputs) if key and not complete(facts.shapes.get(key))
    }
    try:
        shapes, _ = concrete_shapes(graph.model.complete_proto(), feed)
    except (
        Exception
    ):  # onnx and onnxruntime raise many types; costs stay unknown then, and whoever runs it next says why
        return {}
    return {key: shapes[key] for key in keys if key in shapes}


def inferred_shapes(
    proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]
) -> tuple[dict[str, Shape], dict[str, int]]:
    """Those of `concrete_shapes` that follow from the sizes of the feeds alone, whatever is in them."""
    _, shapes, types = _inferred(proto, feeds)
    return shapes, types


def _inferred(
    proto: onnx.ModelProto, feeds: Mapping[str, NDArray[Any]]
) -> tuple[onnx.ModelProto, dict[str, Shape], dict[str, int]]:
    """The model with the sizes of the feeds, and what follows from them."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(proto)
    del fixed.graph.value_info[:]
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in fixed.graph.input:
        if value.name in feeds:
            dtype = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, dtype, feeds[value.name].shape))
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in fixed.graph.initializer}
    types = {tensor.name: tensor.data_type for tensor in fixed.graph.initializer}
    for value in [*inferred.input, *inferred.value_info, *inferred.output]:
        _read(value.name, value.type, shapes, types)
    return fixed, shapes, types


def _read(name: str, kind: TypeProto, shapes: dict[str, Shape], types: dict[str, int]) -> None:
    if not kind.HasField("tensor_type"):
        return
    tensor = kind.tensor_type
    if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
        shapes[name] = tuple(dim.dim_value for dim in tensor.shape.dim)
        types[name] = tensor.elem_type


def _measure(
    fixed: onnx.ModelProto,
    loose: onnx.ModelProto,
    feeds: Mapping[str, NDArray[Any]],
    missing: list[str],
    shapes: dict[str, Shape],
    types: dict[str, int],
) -> None:
    """Run the model with the sizes of the feeds; where a branch that is not taken does not go with these, with sizes
    left open (`loose`).
    """
    if not missing:
        return
    try:
        session = open_session(_showing(fixed, missing))
    except Exception:  # onnxruntime raises many types
        session = open_session(_showing(loose, missing))
    wanted = {value.name for value in session.get_inputs()}
    results = session.run(missing, {name: array for name, array in feeds.items() if name in wanted})
    for name, array in zip(missing, results, strict=True):
        if isinstance(array, np.ndarray) and array.dtype.kind != "O":
            shapes[name] = array.shape
            types[name] = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)


def _showing(proto: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The model with these values as its outputs."""
    shown = onnx.ModelProto()
    shown.CopyFrom(proto)
    del shown.graph.output[:]
    shown.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return shown
