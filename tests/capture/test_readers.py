"""Which layers could make up for what leaves, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.choosing import INSIDE
from onnxprune.curves import readers_of
from onnxprune.model.load import load
from onnxprune.trace import trace_model
from tests.builders import Net


def shared(spelling: str) -> Net:
    """Layers of one bias, as exporters write what is equal: one initializer, or behind Identity."""
    net = Net(17, seed=3)
    bias = net.constant(net.normal(12) * 0.3, "bias")
    h = net.input(3, 8, 8, name="x")
    for name in ("a", "b", "c"):
        weight = net.normal(12, net.channels(h), 3, 3)
        own = net.op("Identity", bias) if spelling == "identity" else bias
        h = net.relu(net.op("Conv", h, weight, own, name=name, pads=[1, 1, 1, 1]))
    net.output(net.conv(h, 4, name="z"))
    return net


@pytest.mark.parametrize("spelling", ["identity", "initializer"])
def test_a_shared_bias_hides_no_reader(spelling: str, tmp_path: Path) -> None:
    model = load(shared(spelling).model())
    trace = trace_model(model)
    found = {
        group.name: [trace.graph.nodes[layer.node].label for layer in layers]
        for group, layers in zip(trace.prunable, readers_of(trace, trace.prunable), strict=True)
    }
    assert found == {"a": ["b"], "b": ["c"], "c": ["z"]}
    images = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    bare = onnxprune.shrink(model, tmp_path / "bare.onnx", ratio=0.4, data={"x": images}, repair="none")
    result = onnxprune.shrink(model, tmp_path / "out.onnx", ratio=0.4, data={"x": images}, repair="least-squares")
    assert result.repair is not None and result.repair.corrected_layers == 3 and not result.repair.skipped
    assert {change.name for change in result.groups if change.removed} == {"a", "b", "c"}
    assert error(result) < 0.8 * error(bare)


def error(result: Any) -> float:
    return float(result.fidelity.outputs[0].relative_error)


def test_readers_of_padding_that_depends_on_the_size() -> None:
    net = Net(17, seed=3)
    h = net.relu(net.conv(net.input(3, 9, 9, name="x"), 12, 3, name="a", auto_pad="SAME_UPPER", strides=[2, 2]))
    net.output(net.conv(h, 4, 3, name="z", auto_pad="SAME_LOWER"))
    trace = trace_model(load(net.model()))
    (found,) = readers_of(trace, trace.prunable)
    assert [trace.graph.nodes[layer.node].label for layer in found] == ["z"]


def test_inside_of_a_branch_is_said_to_be_that() -> None:
    branches = []
    for seed in (0, 1):
        inner = Net(17, seed=seed)
        x = "x"
        h = inner.op("Relu", inner.op("Conv", x, inner.normal(12, 3, 3, 3), name=f"a{seed}"))
        y = inner.op("Conv", h, inner.normal(4, 12, 1, 1), name=f"z{seed}")
        branches.append(inner.body(f"branch{seed}", [y]))
    net = Net(17)
    net.input(3, 6, 6, name="x")
    flag = net.declare("flag", [], bool)
    net.nodes.append(
        onnx.helper.make_node("If", [flag], ["y"], name="If", then_branch=branches[0], else_branch=branches[1])
    )
    net.output("y", rank=4)
    model = load(net.model())
    data = {"x": np.ones((6, 3, 6, 6), np.float32), "flag": np.ones(6, bool)}
    result = onnxprune.shrink(model, ratio=0.5, data=data, dry_run=True)
    reasons = {change.name: change.reason for change in result.groups}
    assert reasons["a0"] == reasons["a1"] == INSIDE
