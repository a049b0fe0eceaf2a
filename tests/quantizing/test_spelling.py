"""Other spellings of the same: what they compute, and what the runtime makes of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import Model, load
from onnxprune.quantizing.spelling import respelled
from tests.builders import Net
from tests.oracle import session

ROOT_2 = float(np.sqrt(2))


def spelled(model: Model) -> Model:
    return respelled(model, infer(build(model)).dtypes)


def fused(model: Model, path: Path) -> Counter[str]:
    """The operators of the session."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.complete_proto().SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(path / "optimised.onnx").graph.node)


def same(before: onnx.ModelProto, after: Model, *shape: int) -> None:
    feed = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    for a, b in zip(*(session(m).run(None, feed) for m in (before, after.complete_proto())), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)


def normalised(net: Net, x: str, width: int) -> str:
    """A layer normalisation, spelled out."""
    centred = net.op("Sub", x, net.mean(x, -1))
    variance = net.mean(net.op("Pow", centred, net.number(2.0)), -1)
    scaled = net.op("Div", centred, net.op("Sqrt", net.add(variance, net.number(1e-5))))
    return net.add(net.op("Mul", scaled, net.positive(width)), net.normal(width))


@pytest.mark.parametrize("spelled_out", [False, True])
def test_sums_before_normalisations(spelled_out: bool, tmp_path: Path) -> None:
    net = Net(seed=0)
    x = net.input(5, 16, name="x")
    total = net.add(x, net.dense(x, 16), name="shortcut")
    if spelled_out:
        y = normalised(net, total, 16)
    else:
        y = net.op("LayerNormalization", total, net.positive(16), net.normal(16), axis=-1)
    net.output(net.matmul(y, 4))
    model = spelled(load(net.model()))
    assert [node.name for node in model.proto.graph.node if node.op_type == "Sum"] == ["shortcut"]
    same(net.model(), model, 3, 5, 16)
    assert fused(load(net.model()), tmp_path)["SkipLayerNormalization"] == 1
    assert fused(model, tmp_path)["SkipLayerNormalization"] == 0
    assert fused(model, tmp_path)["LayerNormalization"] == 1


def gelu(net: Net, x: str, *, swapped: bool, times: bool = False, half: float = 0.5, one: float = 1.0) -> str:
    inside = net.op("Mul", x, net.number(1 / ROOT_2)) if times else net.op("Div", x, net.number(ROOT_2))
    grown = net.add(net.op("Erf", inside), net.number(one))
    halved = net.op("Mul", *((grown, net.number(half)) if swapped else (net.number(half), grown)), name="inner")
    return net.op("Mul", *((halved, x) if swapped else (x, halved)), name="last")


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("times", [False, True])
def test_gelu(swapped: bool, times: bool, tmp_path: Path) -> None:
    net = Net(seed=1)
    net.output(net.relu(gelu(net, net.input(8, name="x"), swapped=swapped, times=times)))
    model = spelled(load(net.model()))
    same(net.model(), model, 9, 8)
    assert [node.name for node in model.proto.graph.node] == [node.name for node in net.model().graph.node]
    before = fused(load(net.model()), tmp_path)
    assert before["Erf"] == 1 and before["Gelu"] == 0
    if not times:  # the runtime knows this one
        assert fused(model, tmp_path) == Counter({"Gelu": 1, "Relu": 1})


@pytest.mark.parametrize("wrong", [{"half": 0.25}, {"one": 2.0}])
def test_what_is_no_gelu_stays(wrong: dict[str, Any]) -> None:
    net = Net(seed=1)
    net.output(gelu(net, net.input(8, name="x"), swapped=False, **wrong))
    model = load(net.model())
    assert spelled(model) is model


def test_values_that_others_read_stay() -> None:
    net = Net(seed=2)
    y = gelu(net, net.input(8, name="x"), swapped=False)
    net.output(y, net.nodes[-2].output[0])
    model = load(net.model())
    assert spelled(model) is model


def test_sums_with_constants_and_old_opsets_stay() -> None:
    net = Net(seed=3)
    x = net.input(5, 16, name="x")
    net.output(net.op("LayerNormalization", net.add(x, net.normal(16)), net.positive(16), axis=-1))
    model = load(net.model())
    assert spelled(model) is model
    old = Net(opset=7, seed=3)
    x = old.input(5, 16, name="x")
    old.output(normalised(old, old.add(x, old.relu(x)), 16))
    model = load(old.model())
    assert spelled(model) is model


def test_sums_of_integers_stay() -> None:
    net = Net(seed=4, dtype=np.int64)
    x = net.input(5, 16, name="x")
    total = net.add(x, net.op("Neg", x))
    net.output(net.op("Sub", total, net.mean(total, -1)))
    model = load(net.model())
    assert spelled(model) is model
