"""Sizes from samples and in a run; weights that the graph makes of constants; cuts that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

import onnxprune
from onnxprune.errors import UsageError
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.model.plain import hoisted, lowered
from onnxprune.trace import trace_model
from tests.builders import Net, ints

Array = NDArray[Any]
TEXTS = np.random.default_rng(0).integers(0, 20, (24, 12))


def as_long_as_asked() -> Net:
    """Layers behind a number of steps that an input gives."""
    net = Net(17)
    ids, steps = net.declare("ids", ["N", "S"], np.int64), net.declare("steps", [1], np.int64)
    h = net.op("Slice", net.op("Gather", net.normal(20, 16), ids), ints(0), net.op("Max", steps, ints(3)), ints(1))
    h = net.relu(net.op("MatMul", h, net.normal(16, 32), name="a"))
    net.output(net.op("MatMul", h, net.normal(32, 4), name="z"), rank=3)
    return net


def lengths() -> Any:
    for k in range(24):
        yield {"ids": TEXTS[k : k + 1], "steps": np.array([4 + k % 6])}


def test_what_cannot_be_counted_is_said_and_counted_on_samples(tmp_path: Path) -> None:
    source = tmp_path / "source.onnx"
    onnx.save(as_long_as_asked().model(), source)
    with pytest.raises(UsageError, match="known only when it runs") as problem:
        onnxprune.shrink(source, tmp_path / "out.onnx", target="macs=50%")
    assert "--data" in (problem.value.hint or "")
    result = onnxprune.shrink(source, tmp_path / "out.onnx", target="macs=50%", data=lengths)
    assert result.after is not None and 0 < result.after.macs <= result.before.macs / 2
    assert result.before.uncounted == 0


def test_outputs_of_an_open_length_behind_layers_of_a_known_one(tmp_path: Path) -> None:
    """What is rebuilt is judged by the outputs, and these have other lengths for every sample."""
    net = Net(17)
    feats, steps = net.declare("feats", ["N", "S", 6]), net.declare("steps", [1], np.int64)
    h = net.op("MatMul", feats, net.normal(6, 16), name="a")
    h = net.relu(net.op("Slice", h, ints(0), net.op("Max", steps, ints(3)), ints(1)))
    h = net.relu(net.op("MatMul", h, net.normal(16, 16), name="b"))
    net.output(net.op("MatMul", h, net.normal(16, 4), name="z"), rank=3)
    source, target = tmp_path / "source.onnx", tmp_path / "out.onnx"
    onnx.save(net.model(), source)
    rng = np.random.default_rng(0)

    def samples() -> Any:
        for k in range(24):
            yield {"feats": rng.standard_normal((1, 12, 6)).astype(np.float32), "steps": np.array([4 + k % 6])}

    result = onnxprune.shrink(source, target, target="macs=50%", data=samples)
    assert result.plan.removed_count and result.proof is not None


def test_sizes_are_those_of_the_samples(tmp_path: Path) -> None:
    net = Net(17)
    h = net.op("Gather", net.normal(20, 8), net.declare("ids", ["N", "S"], np.int64))
    h = net.relu(net.op("MatMul", h, net.normal(8, 16), name="a"))
    net.output(net.op("MatMul", h, net.normal(16, 4), name="z"), rank=3)
    source, target = tmp_path / "source.onnx", tmp_path / "out.onnx"
    onnx.save(net.model(), source)
    result = onnxprune.shrink(source, target, ratio=0.5, data={"ids": TEXTS})
    assert result.before.symbols == {"N": 1, "S": 12}
    assert result.before.macs == 12 * (8 * 16 + 16 * 4)
    assert result.proof is not None and onnxprune.verify(source, target).proof is not None


def eight_bits() -> Net:
    """Weights of 8 bits, times a scale for each output; the first with a zero point."""
    net = Net(17, seed=2)
    x = net.declare("x", ["N", 12])
    for k, (wide, out) in enumerate(((12, 32), (32, 24), (24, 4))):
        stored = net.rng.integers(-100, 100, (wide, out)).astype(np.int8)
        weight = net.op("Cast", net.constant(stored, f"w{k}"), to=TensorProto.FLOAT)
        if k == 0:
            weight = net.op("Sub", weight, np.float32([3.0]))
        scale = (net.positive(1, out) * 0.01).astype(np.float32)
        x = net.op("MatMul", x, net.op("Mul", weight, scale), name=f"layer{k}")
        x = net.relu(x) if k < 2 else x
    net.output(x, rank=2)
    return net


@pytest.mark.parametrize("repair", ["least-squares", "reconstruct"])
def test_eight_bits_and_a_scale_are_cut_and_refitted(repair: str, tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", tmp_path / "out.onnx"
    onnx.save(eight_bits().model(), source)
    data = {"x": np.random.default_rng(1).standard_normal((64, 12)).astype(np.float32)}
    assert [g.name for g in trace_model(load(source)).prunable] == ["layer0", "layer1"]
    result = onnxprune.shrink(source, target, ratio=0.4, data=data, repair=repair)
    assert result.plan.removed_count and result.repair is not None and result.repair.corrected_layers
    stored = {t.name: t for t in onnx.load(target).graph.initializer}
    assert all(stored[f"w{k}"].data_type == TensorProto.INT8 for k in range(3))
    assert stored["w0"].dims[1] < 32 and stored["w1"].dims[1] < 24
    assert "w1" in onnxprune.verify(source, target).refitted


def test_scales_grow_where_new_values_do_not_fit() -> None:
    """By as much as a column needs: no number is cut off, and what needs nothing keeps its scale."""
    model = load(eight_bits().model())
    working = hoisted(model)
    graph = build(model)
    layers = {node.label: node.inputs[1] for node in graph.nodes if node.op_type == "MatMul"}
    weight = working.tensors[layers["layer1"]].array().copy()
    scale = next(c for c in graph.constants if graph.constants[c].shape == (1, 24))
    weight[3, 5] = 500 * graph.constants[scale].array()[0, 5]
    tensors = {**working.tensors, layers["layer1"]: working.tensors[layers["layer1"]].with_array(weight)}
    back = lowered(model, working.replace(working.proto, tensors))
    again = hoisted(back).tensors[layers["layer1"]].array()
    np.testing.assert_allclose(again[3, 5], weight[3, 5], rtol=1e-6)
    grown, before = back.tensors[scale].array(), graph.constants[scale].array()
    assert grown[0, 5] == pytest.approx(before[0, 5] * 500 / 127)
    np.testing.assert_array_equal(np.delete(grown, 5), np.delete(before, 5))
    assert np.abs(again - weight).max() <= grown.max() / 2


def test_a_layer_that_reads_a_constant_is_no_obstacle(tmp_path: Path) -> None:
    """Positions through a layer of their own (relative positions)."""
    net = Net(17, seed=3)
    table = net.op("Unsqueeze", net.normal(5, 6), ints(0))
    places = net.op("MatMul", table, net.normal(6, 16), name="places")
    h = net.op("MatMul", net.declare("x", ["N", 5, 8]), net.normal(8, 16), name="a")
    net.output(net.op("MatMul", net.relu(net.add(h, places)), net.normal(16, 4), name="z"), rank=3)
    source, target = tmp_path / "source.onnx", tmp_path / "out.onnx"
    onnx.save(net.model(), source)
    data = {"x": np.random.default_rng(1).standard_normal((24, 5, 8)).astype(np.float32)}
    result = onnxprune.shrink(source, target, ratio=0.5, data=data)
    assert result.plan.removed_count and result.repair is not None
    assert onnxprune.verify(source, target, data=data).proof is not None


def test_what_is_refused_lets_something_stay_every_time() -> None:
    """Of a node that touches no index that may go, it is what its inputs come from; at last, everything."""
    net = Net(17)
    h = net.relu(net.tokens(name="a"))
    width = net.op("Cast", net.size_of(h, 2), to=TensorProto.FLOAT)
    net.project(net.relu(net.op("MatMul", net.op("Div", h, width), net.normal(8, 8), name="b")))
    trace = trace_model(load(net.model()))
    cast = next(node.index for node in trace.graph.nodes if node.op_type == "Cast")
    before = [group.name for group in trace.prunable]
    trace.pin_node(cast, "no")
    assert [g.name for g in trace.prunable] == [name for name in before if name != "a"]
    assert {g.pin.reason for g in trace.groups if g.name == "a" and g.pin} == {"no"}
    trace.pin_node(cast, "no again")
    assert not trace.prunable
