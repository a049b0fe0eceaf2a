"""Small models for the tests of `onnxprune.model`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper


def make_model(graph: onnx.GraphProto, opset: int = 17, ir_version: int = 8) -> ModelProto:
    """A model of one graph."""
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir_version)


def small_model(weight: np.ndarray | None = None) -> ModelProto:
    """y = relu(x @ w) with w of 3 x 4."""
    if weight is None:
        weight = np.arange(12, dtype=np.float32).reshape(3, 4)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], name="mm"), helper.make_node("Relu", ["h"], ["y"], name="r")]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4])]
    return make_model(helper.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(weight, "w")]))


def tensor_model(*tensors: TensorProto) -> ModelProto:
    """x -> y, and initializers that nobody uses."""
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])]
    return make_model(
        helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", inputs, outputs, tensors), 21, 10
    )


def large_model(channels: int = 64) -> ModelProto:
    """y = x @ w + b, w of 256 x channels floats: large enough for external data."""
    weight = np.random.default_rng(0).normal(size=(256, channels)).astype(np.float32)
    initializers = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.ones(channels, np.float32), "b")]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "b"], ["y"])]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 256])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", channels])]
    return make_model(helper.make_graph(nodes, "g", inputs, outputs, initializers))


def annotated_model() -> ModelProto:
    """Everything that a careless writer loses."""
    proto = small_model()
    proto.ir_version = 10
    proto.domain, proto.model_version, proto.doc_string = "org.example", 7, "model doc"
    proto.producer_name, proto.producer_version = "maker", "1.2"
    helper.set_model_props(proto, {"author": "me", "task": "test"})
    graph = proto.graph
    graph.doc_string = "graph doc"
    graph.metadata_props.add(key="graph", value="note")
    graph.node[0].doc_string = "node doc"
    graph.node[0].metadata_props.add(key="node", value="note")
    graph.initializer[0].doc_string = "tensor doc"
    graph.initializer[0].metadata_props.add(key="tensor", value="note")
    graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [3, 4]))  # overridable
    graph.value_info.append(helper.make_tensor_value_info("h", TensorProto.FLOAT, ["N", 4], "value doc"))
    annotation = graph.quantization_annotation.add(tensor_name="y")
    annotation.quant_parameter_tensor_names.add(key="SCALE_TENSOR", value="w")
    sparse = graph.sparse_initializer.add()
    sparse.values.CopyFrom(numpy_helper.from_array(np.array([5.0], np.float32), "sparse"))
    sparse.indices.CopyFrom(numpy_helper.from_array(np.array([2], np.int64), "sparse_indices"))
    sparse.dims.extend([6])
    body = [helper.make_node("Relu", ["a"], ["b"])]
    proto.opset_import.append(helper.make_opsetid("local", 1))
    proto.functions.append(
        helper.make_function("local", "Act", ["a"], ["b"], body, [helper.make_opsetid("", 17)], doc_string="f doc")
    )
    training = proto.training_info.add()
    training.algorithm.name = "train"
    training.algorithm.node.append(helper.make_node("Identity", ["w"], ["w_new"]))
    training.update_binding.add(key="w", value="w_new")
    return proto


def save_external(folder: Path, proto: ModelProto | None = None, **entries: str) -> Path:
    """`m.onnx` in `folder` with the weight of `large_model` in `m.data`; `entries` override its external_data."""
    proto = large_model() if proto is None else proto
    folder.mkdir(parents=True, exist_ok=True)
    tensor = proto.graph.initializer[0]
    (folder / "m.data").write_bytes(tensor.raw_data)
    values = {"location": "m.data", "offset": "0", "length": str(len(tensor.raw_data)), **entries}
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in values.items():
        tensor.external_data.add(key=key, value=value)
    path = folder / "m.onnx"
    path.write_bytes(proto.SerializeToString())
    return path


def listing(folder: Path) -> dict[str, bytes]:
    """Everything in a folder, hidden and nested too: to show that nothing was left behind."""
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else b"" for p in sorted(folder.rglob("*"))}


def read_back(path: Path) -> onnx.ModelProto:
    """What onnx reads, without the explicit `data_location: DEFAULT` that it leaves on external tensors."""
    proto = onnx.load(path)
    for tensor in proto.graph.initializer:
        tensor.ClearField("data_location")
    return proto
