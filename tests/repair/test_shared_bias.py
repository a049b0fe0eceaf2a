"""Layers that share a bias, one of them behind a node: exporters make such files of equal biases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from tests.builders import Net


def shared(behind: tuple[bool, bool, bool]) -> onnx.ModelProto:
    """Three convolutions read one bias, some of them through an Identity."""
    net = Net()
    x = net.input(3, 6, 6)
    bias = net.constant(np.zeros(12, np.float32), "bias")
    h = x
    for number, indirect in enumerate(behind):
        name = net.op("Identity", bias) if indirect else bias
        h = net.relu(net.op("Conv", h, net.normal(12, net.channels(h), 1, 1), name, name=f"c{number}"))
    net.output(net.conv(h, 4, name="z"))
    return net.model()


def error(result: onnxprune.ShrinkResult) -> float:
    assert result.fidelity is not None and result.fidelity.outputs[0].relative_error is not None
    return float(result.fidelity.outputs[0].relative_error)


@pytest.mark.parametrize("behind", [(False, True, False), (False, True, True), (True, True, True), (True, False, True)])
@pytest.mark.parametrize("repair", ["least-squares", "scale-shift", "reconstruct", "merge"])
def test_each_is_refitted_for_itself(tmp_path: Path, behind: tuple[bool, bool, bool], repair: str) -> None:
    model = shared(behind)
    onnx.save(model, tmp_path / "m.onnx")
    data = {model.graph.input[0].name: np.random.default_rng(0).standard_normal((40, 3, 6, 6)).astype(np.float32)}
    out = tmp_path / "out.onnx"
    found = onnxprune.shrink(tmp_path / "m.onnx", out, ratio=0.4, data=data, repair=repair)
    onnx.checker.check_model(str(out), full_check=True)
    names = [t.name for t in onnx.load(out).graph.initializer]
    assert len(set(names)) == len(names)
    assert found.repair is not None and (repair == "merge" or not found.repair.skipped)
    bare = onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "bare.onnx", plan=found.plan, repair="none", data=data)
    after, before = error(found), error(bare)
    assert after < before or (repair == "merge" and after == before and found.repair.corrected_layers == 0)


def test_zeros_in_layers_that_share_a_bias(tmp_path: Path) -> None:
    model = shared((False, True, True))
    onnx.save(model, tmp_path / "m.onnx")
    data = {model.graph.input[0].name: np.random.default_rng(0).standard_normal((40, 3, 6, 6)).astype(np.float32)}
    found = onnxprune.sparsify(tmp_path / "m.onnx", tmp_path / "out.onnx", sparsity=0.5, data=data, pattern="2:4")
    onnx.checker.check_model(str(tmp_path / "out.onnx"))
    assert found.after is not None


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("repair", ["least-squares", "bias"])
def test_layers_of_one_weight_get_the_mean_of_what_left(tmp_path: Path, bias: bool, repair: str) -> None:
    """They are not refitted, since the weight is the other's, too; biases are their own, and `verify` knows them."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 6, 6), 12, name="a"))
    weight = net.constant(net.normal(12, 12, 1, 1), "weight")
    shared = [net.constant(net.normal(12), "bias")] if bias else []
    for number in range(2):
        h = net.relu(net.op("Conv", h, weight, *shared, name=f"c{number}"))
    net.output(net.conv(h, 4, name="z"))
    model = net.model()
    onnx.save(model, tmp_path / "m.onnx")
    data = {model.graph.input[0].name: np.random.default_rng(0).standard_normal((60, 3, 6, 6)).astype(np.float32)}
    out = tmp_path / "out.onnx"
    found = onnxprune.shrink(tmp_path / "m.onnx", out, ratio=0.4, data=data, repair=repair)
    assert found.plan.removed_count and found.repair is not None
    bare = onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "bare.onnx", plan=found.plan, repair="none", data=data)
    assert error(found) < error(bare)
    assert onnxprune.verify(tmp_path / "m.onnx", out).plan_digest == found.plan.digest
