"""Reconstruction by its definitions: what it compares, what a step is, what is measured, and when nothing is done."""

from __future__ import annotations

import math
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.capture.sensitivity import judged
from onnxprune.capture.training import Weights, observer, training_step
from onnxprune.cut import cut
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.repair.descent import pace
from onnxprune.repair.minibatches import LARGEST, Feeds, Minibatches
from onnxprune.repair.reconstruct import RATE, _Judged, _Run, _targets, _weights, reconstruct
from onnxprune.repair.teacher import Teacher
from onnxprune.repair.whiten import coordinates
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]


def batches(name: str, *shape: int, count: int = 50, size: int = 10) -> list[Feeds]:
    rng = np.random.default_rng(0)
    return [{name: rng.standard_normal((size, *shape)).astype(np.float32)} for _ in range(count // size)]


def damaged(model: Model) -> Model:
    """Every matrix with some noise."""
    rng = np.random.default_rng(0)
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if len(tensor.shape) > 1:
            array = tensor.array()
            noise = 0.2 * array.std() * rng.standard_normal(array.shape)
            tensors[name] = tensor.with_array((array + noise).astype(np.float32))
    return model.replace(model.proto, tensors)


def everything(trace: Trace) -> NDArray[np.bool_]:
    return np.ones(trace.unit_count, bool)


def layers() -> tuple[Trace, list[Feeds]]:
    """A convolution with many positions for each feature, and a layer with few."""
    net = Net()
    x = net.input(2, 10, 10)
    a = net.relu(net.conv(x, 6, 3))
    net.output(net.gemm(net.op("Flatten", a), 4))
    return trace_model(load(net.model())), batches(x, 2, 10, 10)


def heads(unit: float) -> tuple[Trace, list[Feeds]]:
    """Two outputs behind one layer; the second in another unit."""
    net = Net()
    x = net.input(6)
    a = net.relu(net.gemm(x, 12))
    first = net.gemm(a, 3)
    second = net.op("Gemm", a, net.normal(3, 12) * np.float32(unit), net.normal(3) * np.float32(unit), transB=1)
    net.output(first, second)
    return trace_model(load(net.model())), batches(x, 6)


def sparse_masks(model: Model) -> dict[str, NDArray[np.bool_]]:
    rng = np.random.default_rng(1)
    return {k: rng.random(t.shape) < 0.4 for k, t in model.tensors.items() if len(t.shape) > 1}


def without(model: Model, masks: dict[str, NDArray[np.bool_]]) -> Model:
    """The model with what the masks leave."""
    tensors = dict(model.tensors)
    for name, mask in masks.items():
        tensors[name] = tensors[name].with_array(tensors[name].array() * mask)
    return model.replace(model.proto, tensors)


@pytest.mark.parametrize(
    ("loss", "outputs", "better"),
    [(1.0, 1.0, True), (1.0, 2.0, True), (1.0, 2.1, False), (2.0, 1.0, False), (2.1, 1.0, False)],
)
def test_better_is_a_smaller_loss_and_no_larger_error_of_the_outputs(loss: float, outputs: float, better: bool) -> None:
    none = cast(Model, None)
    assert _Judged(none, loss, outputs).better_than(_Judged(none, 2.0, 2.0)) is better


def test_it_compares_layers_and_sums_with_their_shortcuts() -> None:
    net = Net()
    a = net.relu(net.stem())
    branch = net.conv(net.relu(net.conv(a, 8)), 8)
    total = net.add(branch, a)
    last = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.relu(total))), 4)
    net.output(last)
    trace = trace_model(load(net.model()))
    made = [node.output[0] for node in trace.graph.model.proto.graph.node if node.op_type == "Conv"]
    assert _targets(trace, build(trace.graph.model)) == [*made[:2], total, last] and made[2] == branch


@pytest.mark.parametrize("sparse", [False, True])
def test_a_step_goes_down_the_mean_gradient_of_its_shards(sparse: bool) -> None:
    """The first of two steps by its definition: Adam moves every coordinate by the rate, of which the warm-up leaves a
    tenth and the decay a half; the second does not move."""
    trace, feeds = layers()
    model = damaged(trace.graph.model)
    masks = sparse_masks(model) if sparse else {}
    model = without(model, masks)
    graph, keep = build(model), everything(trace)
    samples = Minibatches.of(feeds, 1)
    assert isinstance(samples, Minibatches) and samples.batch == LARGEST / 4 and samples.count == 2
    targets = _targets(trace, graph)
    teacher = Teacher(trace, keep, targets, None)
    example = samples.take(np.arange(samples.size))
    step = training_step(graph, example, _weights(graph), targets, [1.0] * len(targets), threads=1)
    start: Weights = {name: model.tensors[name].array() for name in step.weights}
    found = {name: array.copy() for name, array in start.items()}
    _Run(samples, teacher, step, graph, masks).train(found, 2, 7, 1, None)

    first, second = (step.run(f, teacher(f), start)[1] for f in next(samples.steps(7, 2)))
    assert any((np.sign(a) != np.sign(a + b)).any() for a, b in zip(first, second, strict=True))
    slopes = {name: (a + b) / 2 * masks.get(name, True) for name, a, b in zip(step.weights, first, second, strict=True)}
    fitted = [samples.take(np.arange(k, k + samples.size)) for k in range(0, samples.fit, samples.size)]
    paces = []
    for one in coordinates(graph, step.weights, fitted):
        paces.append(pace(one.evidence))
        kept = [masks[name] for name in one.names if name in masks]
        share = float(np.mean(np.concatenate([m.ravel() for m in kept]))) if kept else 1.0
        values = one.read(start)
        rate = RATE * paces[-1] * samples.batch / LARGEST / math.sqrt(share) * 0.05
        moved = values - rate * np.sqrt(np.mean(values**2)) * np.sign(one.slope(slopes))
        for name, wanted in one.write(moved.astype(np.float32)).items():
            change = np.abs((wanted - start[name]) * masks.get(name, True)).max()
            np.testing.assert_allclose(found[name], wanted * masks.get(name, True), rtol=0, atol=0.01 * change)
    assert max(paces) > 1 > min(paces)


def test_weights_that_a_mask_excludes_stay_zero() -> None:
    trace, feeds = layers()
    masks = sparse_masks(trace.graph.model)
    found = reconstruct(trace, everything(trace), without(trace.graph.model, masks), feeds, 1, masks=masks)
    assert found.steps > 0 and found.after < found.before
    for name, mask in masks.items():
        array = found.model.tensors[name].array()
        assert (array[~mask] == 0).all() and (array[mask] != 0).all()


def test_the_error_is_relative_to_the_variance_of_each_output() -> None:
    trace, feeds = heads(50.0)
    broken = damaged(trace.graph.model)
    found = reconstruct(trace, everything(trace), broken, feeds, 1)
    keys = judged(trace)
    assert len(keys) == 2 and found.steps > 0

    def error(model: Model) -> float:
        wanted, got = (observer(m, keys).run(None, feeds[-1]) for m in (trace.graph.model, model))
        return float(np.mean([((a - b) ** 2).mean() / a.var() for a, b in zip(wanted, got, strict=True)]))

    assert found.before == pytest.approx(error(broken), rel=1e-3)
    assert found.after == pytest.approx(error(found.model), rel=1e-3)


def test_the_unit_of_an_output_does_not_matter() -> None:
    """The loss is relative to the variance of every value, and steps to the size of every weight."""
    results = []
    for unit in (1.0, 1024.0):
        trace, feeds = heads(unit)
        results.append(reconstruct(trace, everything(trace), damaged(trace.graph.model), feeds, 1))
    one, other = results
    assert one.steps == other.steps > 0 and one.after < 0.5 * one.before
    assert (one.before, one.after) == pytest.approx((other.before, other.after), rel=1e-2)


def test_a_step_costs_a_pass_of_the_original_and_three_of_the_cut_network() -> None:
    net = Net()
    x = net.input(6)
    net.output(net.gemm(net.relu(net.gemm(x, 12)), 4))
    trace = trace_model(load(net.model()))
    keep = everything(trace)
    (group,) = trace.prunable
    keep[group.units[:5]] = False
    smaller, feeds = cut(trace, keep), batches(x, 6)
    step = 4 * ((6 * 12 + 12 * 4) + 3 * (6 * 7 + 7 * 4))  # of four samples
    told: list[int] = []
    for budget in (50 * step, 50 * step - 1):
        reconstruct(trace, keep, smaller, feeds, 1, budget=budget, progress=lambda _, steps: told.append(steps))
    assert told == [50] * 50 + [49] * 49


def test_models_that_are_too_large_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The original counts, though what is to be trained is smaller."""
    trace, feeds = layers()
    keep = everything(trace)
    keep[trace.prunable[0].units[:3]] = False
    smaller, size = cut(trace, keep), trace.graph.model.size_bytes
    assert smaller.size_bytes < size
    monkeypatch.setattr("onnxprune.repair.lessons.LARGEST_MODEL", size - 1)
    found = reconstruct(trace, keep, smaller, feeds, 1)
    assert found.model is smaller and found.steps == 0 and found.reason is not None and "too large" in found.reason
    monkeypatch.setattr("onnxprune.repair.lessons.LARGEST_MODEL", size)
    assert reconstruct(trace, keep, smaller, feeds, 1).steps > 0


def test_layers_before_a_recurrent_one_are_trained() -> None:
    """There is no gradient rule for LSTM: they learn from what they give themselves."""
    net = Net(17)
    h = net.relu(net.conv(net.input(3, 1, 9, name="x"), 8, 1, name="a"))
    h = net.transpose(net.squeeze(net.conv(h, 8, 1, name="b"), 2), 2, 0, 1)
    weights = net.normal(1, 24, 8, scale=0.4), net.normal(1, 24, 6, scale=0.2)
    y, _, _ = net.many("LSTM", 3, h, *weights, name="r", hidden_size=6)
    net.project(net.transpose(net.squeeze(y, 1), 1, 0, 2))
    trace = trace_model(load(net.model()))
    model = damaged(trace.graph.model)
    found = reconstruct(trace, everything(trace), model, batches("x", 3, 1, 9, count=80), 2)
    recurrent = next(n for n in trace.graph.nodes if n.op_type == "LSTM")
    assert found.steps > 0 and found.after < found.before
    assert not set(recurrent.inputs[1:3]) & {k for k, t in model.tensors.items() if t is not found.model.tensors[k]}
    trained = [n.inputs[1] for n in trace.graph.nodes if n.op_type in ("Conv", "MatMul")]
    assert len(trained) == 3 and not set(trained) & set(found.frozen)
