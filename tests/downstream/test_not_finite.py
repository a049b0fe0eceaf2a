"""Models with NaN or infinity among their weights: an error names the weight, and what it says to do works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.errors import ModelError, OnnxPruneError
from tests.builders import Net

WHERE = ("producer", "reader", "behind Identity", "elsewhere")


def damaged(where: str, value: float) -> onnx.ModelProto:
    """A network of two outputs in which one weight, 'broken', holds a number that is none."""
    net = Net()
    x = net.input(8)
    h = net.relu(net.gemm(net.relu(net.gemm(x, 16, name="a")), 16, name="b"))
    net.output(net.gemm(h, 4, name="y"))

    def broken(*shape: int) -> str:
        weight = net.normal(*shape)
        weight.flat[-1] = value
        return net.constant(weight, "broken")

    if where == "producer":
        net.output(net.gemm(net.relu(net.op("Gemm", h, broken(12, 16), name="c", transB=1)), 3, name="z"))
    elif where == "elsewhere":
        net.output(net.op("Mul", net.gemm(h, 3, name="c"), broken(3), name="z"))
    else:
        name = net.op("Identity", broken(3, 16)) if where == "behind Identity" else broken(3, 16)
        net.output(net.op("Gemm", h, name, name="z", transB=1))
    return net.model()


def samples(model: onnx.ModelProto) -> dict[str, Any]:
    return {model.graph.input[0].name: np.random.default_rng(0).standard_normal((24, 8)).astype(np.float32)}


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("where", WHERE[:3])
@pytest.mark.parametrize("data", [False, True])
def test_the_weight_is_named_and_the_rest_can_be_cut(tmp_path: Path, where: str, value: float, data: bool) -> None:
    model = damaged(where, value)
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    given = {"data": samples(model)} if data else {}
    with pytest.raises(ModelError, match=r"the weight 'broken' of '[cz]' holds NaN or infinity: 1 of") as caught:
        onnxprune.shrink(path, out, ratio=0.5, **given)
    assert caught.value.exit_code == 3 and not out.exists()
    left = re.findall(r"--exclude '(\w+)'", caught.value.hint or "")
    result = onnxprune.shrink(path, out, ratio=0.5, exclude=left, multiple_of=1, criterion="l1", **given)
    assert result.plan.removed_count
    onnxprune.verify(path, out, **given)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("data", [False, True])
@pytest.mark.parametrize("command", ["shrink", "sparsify"])
def test_a_result_or_a_reason(tmp_path: Path, where: str, data: bool, command: str) -> None:
    model = damaged(where, np.nan)
    path, out = tmp_path / "m.onnx", tmp_path / "out.onnx"
    onnx.save(model, path)
    given: dict[str, Any] = {"data": samples(model)} if data else {}
    given |= {"ratio": 0.5} if command == "shrink" else {"sparsity": 0.5}
    try:
        getattr(onnxprune, command)(path, out, **given)
    except OnnxPruneError as error:
        assert error.exit_code == 3 and re.search("'broken'|of 'z'", str(error)) and not out.exists()
    else:
        onnxprune.verify(path, out)


def test_where_nothing_is_finite(tmp_path: Path) -> None:
    net = Net()
    h = net.relu(net.gemm(net.op("Add", net.input(8), net.constant(np.full(8, np.nan, np.float32), "broken")), 16))
    net.output(net.gemm(h, 4, name="y"))
    onnx.save(net.model(), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"the weight 'broken' of .* holds NaN or infinity: 8 of 8 numbers"):
        onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "out.onnx", ratio=0.5)


def test_a_block(tmp_path: Path) -> None:
    net = Net()
    h = net.relu(net.gemm(net.input(8), 8, name="a"))
    for name in ("b", "c"):
        weight = net.normal(8, 8)
        weight[0, 0] = np.nan if name == "c" else weight[0, 0]
        h = net.add(h, net.op("Gemm", h, net.constant(weight, f"w_{name}"), name=name))
    net.output(h)
    onnx.save(net.model(), tmp_path / "m.onnx")
    with pytest.raises(ModelError, match=r"the weight 'w_c' of 'c' holds NaN.*(\n.*)exclude='c'"):
        onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "out.onnx", ratio=0.5, units="blocks")


def test_masks_of_infinity_are_none_of_this(tmp_path: Path) -> None:
    """What attention adds to hide places is infinite on purpose."""
    net = Net()
    x = net.tokens(8, length=4)
    scores = net.op("MatMul", net.dense(x, 8, name="q"), net.transpose(net.dense(x, 8, name="k"), 0, 2, 1))
    hidden = net.add(scores, np.triu(np.full((4, 4), -np.inf, np.float32), 1))
    net.project(net.op("MatMul", net.softmax(hidden), net.dense(x, 8, name="v")))
    onnx.save(net.model(), tmp_path / "m.onnx")
    result = onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "out.onnx", ratio=0.5, multiple_of=1)
    assert result.plan.removed_count
