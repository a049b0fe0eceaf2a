"""`shrink` of files whose layers run on integers: chosen by samples, refitted, and still run on integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxprune
from onnxprune.model.load import load
from onnxprune.model.plain import hoisted, stored_grids
from tests.builders import Net
from tests.quantized import executed, images, quantized

FEEDS = images(120)


def network() -> onnx.ModelProto:
    """Plain, depthwise and grouped convolutions, a sum, and a product."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 16, 3, name="first"))
    h = net.relu(net.conv(h, 16, 3, group=16, name="depthwise"))
    h = net.relu(net.conv(h, 16, name="second"))
    h = net.relu(net.add(h, net.conv(h, 16, 3, group=2, pads=[1, 1, 1, 1], name="grouped")))
    h = net.op("Flatten", net.op("GlobalAveragePool", net.relu(net.conv(h, 24, name="third"))))
    net.output(net.gemm(h, 5, name="last"))
    return net.model()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("files") / "q.onnx"
    onnx.save(quantized(network(), FEEDS), path)
    return path


def answer(path: Path) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(str(path)).run(None, FEEDS)[0])


@pytest.mark.parametrize("repair", ["none", "bias", "scale-shift", "least-squares", "reconstruct"])
def test_all_repairs_know_integers(repair: str, source: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    result = onnxprune.shrink(source, target, data=FEEDS, ratio=0.3, repair=repair)
    assert result.proof is not None and result.reached_ratio > 0.2
    before, after = (executed(onnx.load(path)) for path in (source, target))
    assert before == after and after["QLinearConv"] == 5
    found = onnxprune.verify(source, target)
    assert bool(found.refitted) == (repair != "none")
    if repair == "reconstruct":
        bare = tmp_path / "bare.onnx"
        onnxprune.shrink(source, bare, data=FEEDS, ratio=0.3, repair="none")
        wanted = answer(source)
        errors = [float(np.square(answer(path) - wanted).mean()) for path in (target, bare)]
        assert errors[0] < 0.5 * errors[1]


def test_grouped_convolutions_of_integers_lose_channels(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    onnxprune.shrink(source, target, data=FEEDS, ratio=0.5, repair="least-squares", multiple_of=1)
    graph = onnx.load(target).graph
    tensors = {t.name: tuple(t.dims) for t in graph.initializer}
    undone = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    shapes = {n.name: tensors[undone[n.input[1]]] for n in graph.node if n.op_type == "Conv"}
    groups = {n.name: a.i for n in graph.node if n.op_type == "Conv" for a in n.attribute if a.name == "group"}
    assert groups["depthwise"] == shapes["depthwise"][0] == shapes["first"][0] < 16
    assert groups["grouped"] == 2 and shapes["grouped"][1] < 8


def test_what_is_reconstructed_is_on_the_grid_of_the_file(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "small.onnx"
    result = onnxprune.shrink(source, target, data=FEEDS, ratio=0.3, repair="reconstruct")
    assert result.repair is not None and result.repair.reconstruction is not None
    model = load(target)
    working = hoisted(model)
    for name, grid in stored_grids(model).items():
        array = working.tensors[name].array()
        np.testing.assert_array_equal(grid.rounded(array), array)
