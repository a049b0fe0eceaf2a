"""Which layers could make up for what leaves, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.capture.features import input_rows, output_rows, positions_of
from onnxprune.capture.walker import Walker
from onnxprune.choose.curves import by_criterion, judged_curves, readers_of
from onnxprune.choose.fallback import INSIDE
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
    pictures = np.random.default_rng(0).standard_normal((40, 3, 8, 8)).astype(np.float32)
    bare = onnxprune.shrink(model, tmp_path / "bare.onnx", ratio=0.4, data={"x": pictures}, repair="none")
    result = onnxprune.shrink(model, tmp_path / "out.onnx", ratio=0.4, data={"x": pictures}, repair="least-squares")
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
    # by its weights, since nothing else can judge it; what runs on no sample stays
    assert {change.name for change in result.groups if change.removed} == {"a0"}
    note = next(note for note in result.notes if "judged by weights" in note)
    assert note.startswith("1 group judged by weights (l1)") and "a0" in note and INSIDE in note


def grouped(op_type: str = "Conv") -> Net:
    """Only a layer of three groups reads the channels of "a"."""
    net = Net(17, seed=7)
    h = net.relu(net.conv(net.input(2, 7, 7, name="x"), 12, 3, name="a", pads=[1, 1, 1, 1]))
    make = net.conv if op_type == "Conv" else net.transposed
    net.output(make(h, 6, 3, group=3, name="b"))
    return net


def images(count: int = 60) -> list[dict[str, Any]]:
    return [{"x": np.random.default_rng(0).standard_normal((count, 2, 7, 7)).astype(np.float32)}]


@pytest.mark.parametrize("op_type", ["Conv", "ConvTranspose"])
def test_a_layer_of_groups_is_judged_by_what_a_refit_leaves(op_type: str) -> None:
    """The errors of the curve are those of least squares in every group on the channels that stay, all together."""
    trace = trace_model(load(grouped(op_type).model()))
    (group,) = trace.prunable
    (curve,) = judged_curves(trace, [group], by_criterion([group], "obs"), images(), shares=[0.5])
    assert curve is not None
    removal, (trial,) = curve.removal, curve.trials
    assert group.blocks is not None
    for k in (3, 6, 9):
        assert set(np.bincount(group.blocks[removal.order[:k]])) == {k // 3}
    graph, (layer,) = trace.graph, readers_of(trace, [group])[0]
    walker = Walker(graph.model, images(), trace.facts.dtypes)
    walker.reach([layer.x, layer.y])
    (x,), (y,) = walker.values(layer.x), walker.values(layer.y)
    rows = layer.stacked(input_rows(layer, x, np.arange(positions_of(layer, y)))).astype(np.float64)
    goal = layer.stacked(output_rows(layer, y)).astype(np.float64)
    gone = np.repeat(np.isin(np.arange(12), removal.order[:6]), layer.taps).reshape(3, -1)
    left = 0.0
    solutions = []
    for b in range(3):
        kept = np.concatenate([rows[b][:, ~gone[b]], np.ones((len(rows[b]), 1))], axis=1)
        found = np.linalg.lstsq(kept, goal[b], rcond=None)[0]
        left += float(((goal[b] - kept @ found) ** 2).sum())
        whole = np.zeros((rows.shape[2], goal.shape[2]))
        whole[~gone[b]] = found[:-1]
        solutions.append(whole)
    spread = float(((goal - goal.mean(axis=1, keepdims=True)) ** 2).sum())
    assert removal.errors[6] == pytest.approx(left / spread, rel=0.02)
    tried = layer.matrix(trial.weights[layer.weight])
    np.testing.assert_allclose(tried, np.stack(solutions), atol=0.02)


def test_what_only_a_layer_of_groups_reads_is_chosen_and_refitted(tmp_path: Path) -> None:
    model, (data,) = load(grouped().model()), images()
    bare = onnxprune.shrink(model, tmp_path / "bare.onnx", ratio=0.5, data=data, repair="none", multiple_of=1)
    result = onnxprune.shrink(model, tmp_path / "out.onnx", ratio=0.5, data=data, repair="least-squares", multiple_of=1)
    assert result.reached_ratio == 0.5 and result.repair is not None and result.repair.corrected_layers == 1
    assert error(result) < 0.9 * error(bare)


@pytest.mark.parametrize("criterion", ["thinet", "lasso", "wanda", "obd-output"])
def test_every_criterion_of_readers_takes_groups(criterion: str, tmp_path: Path) -> None:
    (data,) = images()
    model = load(grouped().model())
    result = onnxprune.shrink(model, tmp_path / "out.onnx", ratio=0.25, data=data, criterion=criterion, multiple_of=1)
    assert result.reached_ratio == 0.25 and result.proof is not None


def test_depthwise_layers_make_up_for_nothing() -> None:
    net = Net(17, seed=7)
    h = net.conv(net.input(2, 7, 7, name="x"), 12, 3, name="a")
    h = net.conv(net.relu(h), 12, 3, group=12, name="depthwise")
    net.output(net.conv(net.relu(h), 4, name="z"))
    trace = trace_model(load(net.model()))
    (found,) = readers_of(trace, trace.prunable)
    assert [trace.graph.nodes[layer.node].label for layer in found] == ["z"]


@pytest.mark.parametrize("weights", ["initializer", "constant", "identity"])
def test_a_bias_that_one_layer_reads_is_its_own(weights: str) -> None:
    net = Net(17, seed=1, weights=weights)
    net.head(net.relu(net.stem(8)))
    trace = trace_model(load(net.model()))
    (found,) = readers_of(trace, trace.prunable)
    assert [layer.own_bias for layer in found] == [True]
    (found,) = readers_of(second := trace_model(load(shared(weights).model())), second.prunable[:1])
    assert [layer.own_bias for layer in found] == [False]
