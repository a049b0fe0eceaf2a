"""Sizes that a file leaves open stay open, also where it describes inner values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

import onnxprune
from tests.builders import Net


def test_inner_values_keep_their_open_sizes(tmp_path: Path) -> None:
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8), 8, name="a"))
    net.output(net.conv(h, 4, name="b"))
    proto = net.model()
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "samples"
    made = proto.graph.node[0].output[0]
    proto.graph.value_info.append(helper.make_tensor_value_info(made, TensorProto.FLOAT, ["samples", 8, 8, 8]))
    onnx.save(proto, tmp_path / "m.onnx")
    data = {net.inputs[0].name: net.rng.standard_normal((24, 3, 8, 8)).astype(np.float32)}
    onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", data=data, scheme="static", repair="none")
    found = onnx.load(tmp_path / "q.onnx")
    for value in found.graph.value_info:
        assert value.type.tensor_type.shape.dim[0].dim_param == "samples", value.name
    session = onnxruntime.InferenceSession(str(tmp_path / "q.onnx"), providers=["CPUExecutionProvider"])
    shapes = {session.run(None, {net.inputs[0].name: data[net.inputs[0].name][:n]})[0].shape[0] for n in (1, 5)}
    assert shapes == {1, 5}
