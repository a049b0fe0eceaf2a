"""Targets that cannot be met: nothing can leave, the model does not let more leave, or the options do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.choose.budget import OutOfReach
from onnxprune.errors import ModelError, UsageError
from onnxprune.model.load import Model, load
from tests.builders import Net


def plain() -> Model:
    net = Net()
    h = net.relu(net.gemm(net.input(8), 32, name="a"))
    net.output(net.gemm(net.relu(net.gemm(h, 32, name="b")), 4, name="z"))
    return load(net.model())


def half_unknown() -> Model:
    """Two layers around an operator of which nothing is known, and one layer that can shrink."""
    net = Net()
    h = net.gemm(net.input(8), 64, name="a")
    h = net.op("Mystery", h, domain="nobody.knows", name="secret")
    net.hint(h, 64)
    h = net.relu(net.op("Gemm", h, net.normal(24, 64), name="b", transB=1))
    net.hint(h, 24)
    net.output(net.op("Gemm", h, net.normal(4, 24), name="z", transB=1), rank=2)
    return load(net.model())


def all_mixed() -> Model:
    """LRN sums over neighbouring channels: none may leave."""
    net = Net(18)
    h = net.op("LRN", net.conv(net.input(3, 6, 6), 16, name="a"), size=3, name="n")
    net.output(net.op("Conv", net.relu(h), net.normal(4, 16, 1, 1), name="z"), rank=4)
    return load(net.model())


def test_nothing_can_leave(tmp_path: Path) -> None:
    data = {all_mixed().proto.graph.input[0].name: np.ones((6, 3, 6, 6), np.float32)}
    for how in ({}, {"data": data}):
        result = onnxprune.shrink(all_mixed(), tmp_path / "a.onnx", target="macs=50%", **how)
        assert not result.written and not result.plan.removed_count
        assert any("LRN mixes neighbouring channels" in (group.reason or "") for group in result.groups)


def test_the_model_does_not_let_more_leave(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="out of reach") as caught:
        onnxprune.shrink(half_unknown(), tmp_path / "a.onnx", target="params=15%", verify=False)
    assert not isinstance(caught.value, UsageError) and caught.value.exit_code == 3
    assert "nobody.knows:Mystery is not an operator with a rule" in caught.value.message
    assert "% of the weights must stay" in caught.value.message and "--why" in str(caught.value)


@pytest.mark.parametrize("how", [{"min_keep": 16}, {"multiple_of": 16}, {"exclude": "*"}, {"target": "macs=0.01%"}])
def test_the_options_do_not(how: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(OutOfReach, match="removing all that may go leaves"):
        onnxprune.shrink(plain(), tmp_path / "a.onnx", **{"target": "macs=15%", **how})
