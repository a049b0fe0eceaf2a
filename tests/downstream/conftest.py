"""Models that say the shape of everything, as some exporters write them, and the tools that read it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import GraphProto, ModelProto, helper
from onnxruntime.quantization import CalibrationDataReader, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from tests.builders import Array

Feed = dict[str, Array]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Quantisers leave files in the working directory."""
    monkeypatch.chdir(tmp_path)


def recorded(model: ModelProto) -> ModelProto:
    """`model` with a shape for every value, in every body: nodes' outputs, initializers, values of Constant nodes."""
    found = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for graph in bodies(found.graph):
        known = {value.name for value in (*graph.value_info, *graph.input, *graph.output)}
        for tensor in (*graph.initializer, *_constants(graph)):
            if tensor.name not in known:
                graph.value_info.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return found


def bodies(graph: GraphProto) -> Iterator[GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from bodies(attribute.g)


def _constants(graph: GraphProto) -> Iterator[onnx.TensorProto]:
    for node in graph.node:
        if node.op_type == "Constant":
            tensor = onnx.TensorProto()
            tensor.CopyFrom(node.attribute[0].t)
            tensor.name = node.output[0]
            yield tensor


def values(graph: GraphProto) -> set[str]:
    """What has a name in a graph or in the bodies inside."""
    found = set()
    for body in bodies(graph):
        found.update(item.name for item in (*body.input, *body.initializer))
        found.update(sparse.values.name for sparse in body.sparse_initializer)
        found.update(name for node in body.node for name in node.output)
    return found


def read(graph: GraphProto) -> set[str]:
    """What nodes read, and outputs give."""
    found = {value.name for body in bodies(graph) for value in body.output}
    return found | {name for body in bodies(graph) for node in body.node for name in node.input}


class Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: list[Feed]) -> None:
        self.feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self.feeds, None)


def accepted(path: Path, original: ModelProto, feed: Feed) -> None:
    """Checker, inference and quantisers take the file, and it holds nothing that lost its use."""
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    sizes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    for value in inferred.graph.value_info:
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in value.type.tensor_type.shape.dim]
        assert value.name not in sizes or dims == sizes[value.name]
    assert {value.name for body in bodies(model.graph) for value in body.value_info} <= values(model.graph)
    unread = {name for name in values(original.graph) if name not in read(original.graph)}
    assert {tensor.name for tensor in model.graph.initializer} <= read(model.graph) | unread
    quantised(path, feed)


def quantised(path: Path, feed: Feed) -> None:
    """ONNX Runtime's quantisers take the file, and what they write runs."""
    with tempfile.TemporaryDirectory() as folder:
        ready, static, dynamic = (Path(folder) / f"{name}.onnx" for name in ("ready", "static", "dynamic"))
        quant_pre_process(str(path), str(ready), skip_symbolic_shape=True)
        quantize_static(str(ready), str(static), Samples([feed]))
        quantize_dynamic(str(ready), str(dynamic))
        for made in (static, dynamic):
            session = onnxruntime.InferenceSession(str(made), providers=["CPUExecutionProvider"])
            assert all(np.isfinite(y).all() for y in session.run(None, feed))
