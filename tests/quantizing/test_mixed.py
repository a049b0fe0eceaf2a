"""Layers that stay float among layers of integers: what the runtime makes of the file is what the file says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.model.load import load
from onnxprune.quantizing.layers import candidates, settled
from onnxprune.trace import trace_model
from tests.builders import Net


def relu6(net: Net, x: str) -> str:
    return net.op("Clip", x, np.float32(0), np.float32(6))


def chain() -> Net:
    net = Net()
    h = relu6(net, net.conv(net.input(3, 8, 8), 8, name="a"))
    h = relu6(net, net.conv(h, 8, name="b"))
    h = relu6(net, net.conv(h, 8, name="c", group=8))
    h = relu6(net, net.transposed(h, 6, name="t"))
    net.output(net.conv(net.relu(net.conv(h, 6, name="d")), 4, name="e"))
    return net


@pytest.mark.parametrize("exclude", [["a"], ["b"], ["c"], ["b", "c"], ["d"], ["e"], ["type:Clip"]])
def test_a_file_with_some_floats_is_proven(tmp_path: Path, exclude: list[str]) -> None:
    net = chain()
    onnx.save(net.model(), tmp_path / "m.onnx")
    data = {net.inputs[0].name: net.rng.standard_normal((24, 3, 8, 8)).astype(np.float32)}
    result = onnxprune.quantize(
        tmp_path / "m.onnx", tmp_path / "q.onnx", data=data, scheme="static", exclude=exclude, repair="none"
    )
    found = result.quantization
    assert found.proof is not None and found.proof.most_steps <= 1
    there = {layer.node: layer for layer in found.layers}
    for name in exclude:
        if name in there:
            assert there[name].precision == "float32" and there[name].reason == "excluded"
    assert found.quantized_layers


def test_a_float_layer_between_integers_is_one_of_them() -> None:
    """The runtime would round its weights by itself. If it has to stay float, what reads it does, too."""
    net = chain()
    trace = trace_model(load(net.model()))
    graph, found = trace.graph, candidates(trace.graph, trace.facts)
    at = {node.label: node.index for node in graph.nodes}
    assert {at["a"], at["b"], at["c"]} <= settled(graph, found, {at["a"], at["c"]})
    assert at["d"] not in settled(graph, found, {at["a"], at["b"], at["c"], at["d"]}), "the transposed one stays"


def test_a_bias_beside_weights_of_nearly_zero_is_kept(tmp_path: Path) -> None:
    """On the scale of such weights it would need more than 32 bits."""
    net = Net()
    x = net.input(3, 8, 8)
    weight = net.normal(8, 3, 3, 3)
    weight[2:4] *= 1e-12
    h = net.op("Conv", x, weight, np.linspace(1, 4, 8).astype(np.float32), pads=[1, 1, 1, 1], name="a")
    net.output(net.conv(net.relu(h), 4, name="b"))
    onnx.save(net.model(), tmp_path / "m.onnx")
    data = {x: net.rng.standard_normal((24, 3, 8, 8)).astype(np.float32)}
    result = onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", data=data, scheme="static", repair="none")
    assert result.quantization.proof is not None and result.quantization.proof.moved_steps <= 0.51
    assert result.fidelity is not None and (result.fidelity.worst_error or 0) < 0.05
