"""Names that the program makes up may be in the model already: of a masked network, say, or of a repair before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.model.names import fresh, fresh_prefix, taken
from tests.builders import Net
from tests.downstream.conftest import bodies
from tests.downstream.networks import branches


def renamed(model: onnx.ModelProto, names: dict[str, str]) -> onnx.ModelProto:
    for node in model.graph.node:
        for values in (node.input, node.output):
            for slot, name in enumerate(values):
                values[slot] = names.get(name, name)
    for item in (*model.graph.initializer, *model.graph.output, *model.graph.input):
        item.name = names.get(item.name, item.name)
    return model


def test_names_of_the_masked_reference(tmp_path: Path) -> None:
    net = Net()
    net.head(net.relu(net.conv(net.relu(net.stem(8)), 8, name="b")))
    model = net.model()
    values = [node.output[0] for node in model.graph.node[:3]]
    made = ["onnxprune.reference.1", "onnxprune.reference.mask0", "onnxprune.reference.2"]
    onnx.save(renamed(model, dict(zip(values, made, strict=True))), tmp_path / "m.onnx")
    result = onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "out.onnx", ratio=0.5, multiple_of=1)
    assert result.proof is not None and result.proof.sensitive


@pytest.mark.parametrize(("repair", "ending"), [("least-squares", "fitted"), ("bias", "corrected")])
def test_a_bias_that_a_repair_made_and_another_layer_reads(tmp_path: Path, repair: str, ending: str) -> None:
    """As after a tool that gives equal biases one name: each layer is repaired for itself."""
    net = Net()
    h = net.relu(net.stem(12))
    bias = net.constant(net.normal(4), "bias")
    outputs = [net.op("Conv", h, net.normal(4, 12, 1, 1), bias, name=name) for name in "yz"]
    net.output(*outputs)
    model = renamed(net.model(), {"bias": f"{outputs[0]}.bias.{ending}"})
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    data = np.random.default_rng(0).standard_normal((60, 3, 6, 6)).astype(np.float32)
    onnxprune.shrink(path, out, ratio=0.5, repair=repair, multiple_of=1, data={model.graph.input[0].name: data})
    biases = {node.name: node.input[2] for node in onnx.load(out).graph.node if node.op_type == "Conv"}
    assert biases["y"] != biases["z"]
    onnxprune.verify(path, out)


def test_names_inside_of_bodies_are_taken() -> None:
    model = branches()
    inner = {name for body in list(bodies(model.graph))[1:] for node in body.node for name in node.output}
    names = taken(model)
    assert inner and inner <= names
    given = min(inner)
    assert fresh(given, names) == f"{given}.2" and fresh(given, names) == f"{given}.3"
    assert fresh_prefix("new.", names) == "new." and not any(n.startswith(fresh_prefix("v", names)) for n in names)
