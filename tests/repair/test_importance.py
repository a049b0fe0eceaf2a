"""Weights of positions: where there are none, what they look like, and that errors follow them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.capture.training import observer
from onnxprune.cut import cut
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.repair.importance import MOST, SILENT, UNIFORM, Importance, _weights, channel_axes
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.repair.teacher import Teacher
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
Feeds = list[dict[str, Array]]
SIDE = 12


def finder(net: Net) -> tuple[str, str, str]:
    """(a map h whose channel 0 is the input, boxes, whether something is there): "something" where its input is bright,
    sure of "nothing" elsewhere."""
    x = net.input(1, SIDE, SIDE)
    kernels = net.normal(6, 1, 3, 3)
    kernels[0] = np.eye(9, dtype=np.float32)[4].reshape(1, 3, 3)  # the input itself
    h = net.relu(net.op("Conv", x, net.constant(kernels), pads=[1, 1, 1, 1]))
    boxes = net.conv(h, 4)
    bright = np.zeros((1, 6, 1, 1), np.float32)
    bright[0, 0] = 8
    found = net.op("Sigmoid", net.op("Conv", h, net.constant(bright), net.constant(np.full(1, -8, np.float32))))
    return h, boxes, found


def detector(batch: str | int = "N", seed: int = 0) -> tuple[Trace, str]:
    """Boxes and classes, as far as something was found; and the value of its boxes."""
    net = Net(seed=seed, batch=batch)
    h, boxes, found = finder(net)
    net.output(net.concat(boxes, net.op("Mul", found, net.op("Sigmoid", net.conv(h, 3)))))
    return trace_model(load(net.model())), boxes


def scenes(count: int, size: int, seed: int = 0) -> tuple[Feeds, Array]:
    """Batches, and where things are in them (count, side, side)."""
    rng = np.random.default_rng(seed)
    images = rng.normal(0, 0.02, (count, 1, SIDE, SIDE)).astype(np.float32)
    there = np.zeros((count, SIDE, SIDE), bool)
    for image, mask in zip(images, there, strict=True):
        mask[tuple(rng.integers(2, SIDE - 2, 2))] = True
        image[0, mask] = 1.0
    return [{"x1": images[k : k + size]} for k in range(0, count, size)], there


def test_channel_axes() -> None:
    net = Net()
    x = net.input(4, 6, 6)
    a = net.conv(x, 4)
    total = net.add(net.conv(net.relu(a), 4), a)
    flat = net.op("Flatten", net.op("GlobalAveragePool", total))
    y = net.gemm(flat, 3)
    net.output(y)
    found = channel_axes(build(load(net.model())))
    assert found[a] == found[total] == 1 and found[y] == -1 and flat not in found


@pytest.mark.parametrize("head", ["image", "classes", "shares", "no layer"])
def test_where_positions_count_the_same_there_are_no_weights(head: str) -> None:
    """An image whose every pixel is wanted; classes of a whole sample; shares that are open everywhere; no weights."""
    net = Net()
    x = net.input(2, 8, 8)
    h = net.relu(net.conv(x, 6, 3, pads=[1, 1, 1, 1]))
    if head == "classes":
        h = net.op("Flatten", net.op("GlobalAveragePool", h))
        net.output(net.op("Sigmoid", net.gemm(h, 4)))
    elif head == "no layer":
        net.output(net.op("Sigmoid", x))
    else:
        y = net.conv(h, 3)
        net.output(y if head == "image" else net.op("Sigmoid", y))
    batches = [{x: net.normal(2, 2, 8, 8, scale=0.1)} for _ in range(4)]
    assert Importance.measured(trace_model(load(net.model())), batches) is None


def test_positions_of_things_weigh_more() -> None:
    trace, boxes = detector()
    batches, there = scenes(16, 4)
    found = Importance.measured(trace, batches)
    assert found is not None
    weights = {key: [found.of(batch)[key] for batch in batches] for key in found.values}
    assert set(weights) == set(found.values) and len(found.values) == 4
    for key in found.values:
        whole = np.concatenate(weights[key])
        assert whole.shape == (16, 1, SIDE, SIDE) and whole.min() >= UNIFORM and whole.max() <= MOST
        assert 0.3 < whole.mean() < 1.1, key
    narrow = [key for key in found.values if np.concatenate(weights[key])[there[:, None]].mean() > 20]
    assert trace.graph.nodes[trace.graph.producer[boxes]].outputs[0] in narrow, "boxes count where things are"
    assert all(np.median(np.concatenate(weights[key])) < 0.8 for key in narrow) and len(narrow) >= 2


def test_a_sample_has_the_same_weights_in_every_batch_and_order() -> None:
    trace, _ = detector()
    batches, _ = scenes(8, 4)
    found = Importance.measured(trace, batches)
    again = Importance.measured(trace, batches)
    assert found is not None and again is not None
    whole = found.of({"x1": np.concatenate([b["x1"] for b in batches])})
    single = found.of({"x1": batches[1]["x1"][2:3]})
    for key in found.values:
        assert (whole[key][6:7] == single[key]).all()
        assert (again.of(batches[1])[key] == whole[key][4:]).all()


def test_values_come_with_the_weights_in_one_pass() -> None:
    trace, _ = detector()
    batches, _ = scenes(8, 4)
    found = Importance.measured(trace, batches)
    assert found is not None
    keys = found.values[1:]
    told, seen = found.observing(keys).with_values(batches[1])
    wanted = observer(trace.graph.model, keys).run(None, batches[1])
    assert tuple(seen) == keys and set(told) == set(found.values)
    for key, value in zip(keys, wanted, strict=True):
        np.testing.assert_allclose(seen[key], value, rtol=1e-4, atol=1e-5)
    assert all((told[key] == weights).all() for key, weights in found.of(batches[1]).items())
    teacher = Teacher(trace, np.ones(trace.unit_count, bool), keys, found)
    goals = teacher(batches[1])
    assert teacher._session is None and all((a == seen[k]).all() for a, k in zip(goals.targets, keys, strict=True))
    assert {keys[k] for k in goals.weights} == set(keys)


def test_a_fixed_batch_is_run_whole() -> None:
    """With the weights of one by one, but for the signs, which are drawn for what is run."""
    batches, there = scenes(8, 4)
    weights = []
    for batch in (4, "N"):
        trace, boxes = detector(batch=batch)
        found = Importance.measured(trace, batches)
        assert found is not None
        weights.append(np.concatenate([found.of(b)[boxes] for b in batches]))
    assert weights[0].shape == weights[1].shape == (8, 1, SIDE, SIDE)
    whole, single = (w[there[:, None]] for w in weights)
    assert min(whole.mean(), single.mean()) > 20 and whole.mean() == pytest.approx(single.mean(), rel=0.3)


def test_samples_of_unlike_shape_have_none() -> None:
    net = Net()
    x = net.declare("x1", ["N", 1, "H", "W"])
    net.output(net.op("Sigmoid", net.conv(net.relu(net.conv(x, 4)), 2)))
    trace = trace_model(load(net.model()))
    sizes = [{"x1": np.full((1, 1, side, side), -3, np.float32)} for side in (6, 8)]
    assert Importance.measured(trace, sizes) is None


def chosen(net: Net) -> None:
    """How many rows come out depends on what is in the input."""
    _, boxes, found = finder(net)
    where = net.op("NonZero", net.op("Greater", net.reshape(found, 0, SIDE, SIDE), np.float32(0.5)))
    rows = net.transpose(net.concat(boxes, found), 0, 2, 3, 1)
    net.output(net.op("GatherND", rows, net.transpose(where, 1, 0)), rank=2)


def lengths(net: Net) -> None:
    """The last thing that sums is no layer: which axis has its channels is not known."""
    _, boxes, found = finder(net)
    length = net.op("ReduceL2", boxes, axes=[1], keepdims=1)
    net.output(net.op("Div", boxes, net.op("Add", length, np.float32(1))), found)


def endless(net: Net) -> None:
    """A slope is infinite times zero where the Relu is off."""
    h, boxes, found = finder(net)
    z = net.relu(net.conv(h, 8))
    net.output(net.concat(boxes, found), net.op("Exp", net.op("Mul", net.op("Log", z), np.float32(0.5))))


def constants(net: Net) -> None:
    """An output that is the same for all samples."""
    _, boxes, found = finder(net)
    net.output(net.concat(boxes, found), net.op("Identity", net.constant(net.normal(20, 4))))


def squeezed(net: Net) -> None:
    """Values that have another rank where a sample is alone."""
    h, boxes, found = finder(net)
    gate = net.op("Sigmoid", net.op("MatMul", net.op("Squeeze", net.op("GlobalAveragePool", h)), net.normal(6, 6)))
    net.output(net.concat(net.conv(net.op("Mul", h, net.reshape(gate, -1, 6, 1, 1)), 4), boxes, found))


def mixer(net: Net) -> None:
    """A product over positions: its last axis is not what can shrink. And one with positions in front of samples."""
    h, boxes, found = finder(net)
    tokens = net.reshape(h, 0, 6, -1)
    mixed = net.reshape(net.add(net.op("MatMul", tokens, net.normal(SIDE**2, SIDE**2)), tokens), 0, 6, SIDE, SIDE)
    turned = net.relu(net.op("MatMul", net.transpose(tokens, 2, 0, 1), net.normal(6, 5)))
    back = net.reshape(net.transpose(turned, 1, 2, 0), 0, 5, SIDE, SIDE)
    net.output(net.concat(net.conv(net.relu(mixed), 2), net.conv(back, 2), boxes, found))


@pytest.mark.parametrize(
    ("make", "weighted"),
    [(chosen, True), (lengths, False), (endless, False), (constants, True), (squeezed, True), (mixer, True)],
)
def test_networks_of_another_form(make: Callable[[Net], None], weighted: bool) -> None:
    """What is not understood has no weights, and is trained as it would be without; a third of each group leaves."""
    net = Net(opset=11)
    make(net)
    trace = trace_model(load(net.model()))
    feeds, _ = scenes(60, 10)
    found = Importance.measured(trace, feeds)
    assert (found is not None) == weighted
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[-(group.size // 3) :]] = False
    smaller = cut(trace, keep)
    values = observer(smaller, [o.name for o in smaller.proto.graph.output]).run(None, feeds[0])
    assert all(np.isfinite(value).all() for value in values)
    repaired = reconstruct(trace, keep, smaller, feeds, 2, budget=1e9)
    assert repaired.reason is None and repaired.after < repaired.before


def test_a_single_position_counts_no_more_than_the_most() -> None:
    told = np.zeros((1, 1, 100, 100), np.float32)
    told[0, 0, 3, 4] = 7
    weights = _weights(told, float(told.mean()))
    assert weights.max() == pytest.approx(UNIFORM + (1 - UNIFORM) * MOST) and weights.min() == pytest.approx(UNIFORM)
    told[0, 0, 0, :2] = np.nan, np.inf
    weights = _weights(told, 7e-4)
    assert weights[0, 0, 0, 0] == 1 and np.isfinite(weights).all()


def test_a_channel_that_is_silent_on_the_samples_is_not_blown_up() -> None:
    """It is the mean over half of the samples that shows a class; the others would count it as any that is there."""
    net = Net()
    h, _, _ = finder(net)
    bright = np.zeros((2, 6, 1, 1), np.float32)
    bright[:, 0] = 8
    classes = net.op("Conv", h, net.constant(bright), net.constant(np.array([-8, -60], np.float32)))
    net.output(net.op("Sigmoid", classes))
    trace = trace_model(load(net.model()))
    batches, there = scenes(8, 4)
    found = Importance.measured(trace, batches)
    assert found is not None
    common, rare = found._scales[classes].ravel()
    assert common < rare <= 1.01 * common / np.sqrt(SILENT)
    assert np.concatenate([found.of(b)[classes] for b in batches])[there[:, None]].min() > 20


def test_reconstruction_is_better_where_things_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a damaged detector, on scenes that it has not seen; without weights the background has its way."""
    trace, _ = detector()
    feeds, _ = scenes(120, 10)
    fresh, there = scenes(60, 60, seed=1)
    rng = np.random.default_rng(3)
    model = trace.graph.model
    tensors = {
        name: t.with_array((t.array() * (1 + 0.3 * rng.standard_normal(t.shape))).astype(np.float32))
        for name, t in model.tensors.items()
    }
    broken = model.replace(model.proto, tensors)
    key = model.proto.graph.output[0].name
    (wanted,) = observer(model, [key]).run(None, fresh[0])

    def error() -> float:
        found = reconstruct(trace, np.ones(trace.unit_count, bool), broken, feeds, 2)
        assert found.reason is None and found.after < found.before
        (got,) = observer(found.model, [key]).run(None, fresh[0])
        return float(np.mean(np.square(got - wanted).mean(axis=1)[there]))

    weighted = error()
    monkeypatch.setattr(Importance, "measured", lambda *_, **__: None)
    assert weighted < 0.8 * error()
