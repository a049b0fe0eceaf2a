"""Small models for the tests of packing, and a way to pack and unpack them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxprune import pack, unpack
from onnxprune.packing.results import PackResult


def value(name: str, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def model_of(nodes: list[onnx.NodeProto], inputs: list[onnx.ValueInfoProto], *tensors: TensorProto) -> ModelProto:
    """A model whose output is y, of any shape."""
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(nodes, "g", inputs, [output], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def network(seed: int = 0, channels: int = 16, hidden: int = 40) -> ModelProto:
    """Conv, Relu, GlobalAveragePool, Flatten, Gemm, and an Add of a table that is no weight."""
    rng = np.random.default_rng(seed)

    def tensor(name: str, *shape: int) -> TensorProto:
        return numpy_helper.from_array(rng.standard_normal(shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("Gemm", ["d", "fc.weight", "fc.bias"], ["e"], "fc", transB=1),
        helper.make_node("Add", ["e", "table"], ["y"], "add"),
    ]
    return model_of(
        nodes,
        [value("x", ["N", 8, 6, 6])],
        tensor("conv.weight", channels, 8, 3, 3),
        tensor("conv.bias", channels),
        tensor("fc.weight", hidden, channels),
        tensor("fc.bias", hidden),
        tensor("table", 1, hidden),
    )


def matmul(weight: np.ndarray) -> ModelProto:
    """y = x @ w."""
    rows = weight.shape[0]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], "mm")]
    return model_of(nodes, [value("x", ["N", rows])], numpy_helper.from_array(weight, "w"))


def saved(folder: Path, proto: ModelProto, name: str = "m.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def round_trip(path: Path, **options: object) -> tuple[PackResult, Path]:
    """Pack and unpack a file; the result, and the unpacked model, in a folder of its own."""
    packed = path.with_suffix(".onnxpack")
    result = pack(path, packed, force=True, **options)  # type: ignore[arg-type]
    folder = path.parent / "unpacked"
    folder.mkdir(exist_ok=True)
    found = unpack(packed, folder / path.name, force=True)
    assert found.sha256 == result.unpacked_sha256 and found.original_sha256 == result.sha256
    assert sum(result.parts.values()) == result.packed_bytes == packed.stat().st_size
    return result, found.written[0]


def tensors(path: Path) -> dict[str, np.ndarray]:
    return {item.name: numpy_helper.to_array(item) for item in onnx.load(path).graph.initializer}
