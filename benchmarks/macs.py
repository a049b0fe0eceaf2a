"""Count multiply-accumulates and parameters of an ONNX file, independently of the package that is measured.

Sizes come from ONNX's shape inference; where that does not know one (data-dependent shapes), the model is run once
with the wanted tensors as additional outputs. Symbolic sizes count as 1.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

Sizes = tuple[int, ...]
Shapes = dict[str, Sizes]
COUNTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def cost(path: Path) -> tuple[int, int]:
    """(multiply-accumulates of convolutions and matrix products at batch size 1, elements of all initializers)."""
    model = onnx.load(path)
    parameters = {t.name: tuple(t.dims) for t in model.graph.initializer}
    stored = sum(math.prod(dims) for dims in parameters.values())
    counted = _count(model, {**_inferred(model), **parameters})
    if counted is None:
        counted = _count(model, {**_observed(model), **parameters})
    if counted is None:
        raise ValueError(f"{path.name}: sizes stay unknown even after a run")
    return counted, stored


def _count(model: onnx.ModelProto, shapes: Shapes) -> int | None:
    """Sum over the nodes; None if any size is unknown."""
    total = 0
    for node in model.graph.node:
        if node.op_type not in COUNTED:
            continue
        data, weight, out = (shapes.get(name) for name in (node.input[0], node.input[1], node.output[0]))
        if data is None or weight is None or out is None:
            return None
        if node.op_type == "Conv":
            total += math.prod(out) * math.prod(weight[1:])
        elif node.op_type == "ConvTranspose":
            total += math.prod(data) * math.prod(weight[1:])
        else:
            first = any(a.name == "transA" and a.i for a in node.attribute)
            total += math.prod(out) * data[-2 if first else -1]
    return total


def _inferred(model: onnx.ModelProto) -> Shapes:
    """What shape inference knows with every symbolic input size set to 1."""
    light = onnx.ModelProto()
    light.CopyFrom(model)
    del light.graph.value_info[:]
    for value in light.graph.input:
        for dim in value.type.tensor_type.shape.dim:
            if not dim.HasField("dim_value"):
                dim.dim_value = 1
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        done = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except Exception:  # over 2 GB, or an operator that inference rejects: a run tells more
        return {}
    shapes: Shapes = {}
    for value in (*done.graph.input, *done.graph.value_info, *done.graph.output):
        kind = value.type.tensor_type
        if kind.HasField("shape") and all(d.HasField("dim_value") for d in kind.shape.dim):
            shapes[value.name] = tuple(d.dim_value for d in kind.shape.dim)
    return shapes


def _observed(model: onnx.ModelProto) -> Shapes:
    """What one run shows, with every input and output of a counted node as an output of the model."""
    open_ended = onnx.ModelProto()
    open_ended.CopyFrom(model)
    made = {name for node in model.graph.node for name in node.output}
    have = {value.name for value in model.graph.output}
    nodes = [node for node in model.graph.node if node.op_type in COUNTED]
    for name in dict.fromkeys(n for node in nodes for n in (node.input[0], node.input[1], node.output[0])):
        if name in made - have:
            open_ended.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(open_ended.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed = {i.name: _example(i) for i in session.get_inputs()}
    values = session.run(None, feed)
    shapes = {name: tuple(value.shape) for name, value in feed.items()}
    shapes.update((o.name, tuple(np.shape(v))) for o, v in zip(session.get_outputs(), values, strict=True))
    return shapes


def _example(value: Any) -> NDArray[Any]:
    sizes = [size if isinstance(size, int) and size > 0 else 1 for size in value.shape]
    if "float" in value.type:
        return np.random.default_rng(0).standard_normal(sizes).astype(np.float32)
    return np.ones(sizes, np.int64)
