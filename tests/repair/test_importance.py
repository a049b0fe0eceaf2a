"""Weights of positions: where there are none, what they look like, and that errors follow them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.capture.training import observer
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.repair.importance import MOST, UNIFORM, Importance, channel_axes
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
Feeds = list[dict[str, Array]]
SIDE = 12


def detector(batch: str | int = "N", seed: int = 0) -> tuple[Trace, str]:
    """Says "something" where its input is bright, and is sure of "nothing" elsewhere."""
    net = Net(seed=seed, batch=batch)
    x = net.input(1, SIDE, SIDE)
    kernels = net.normal(6, 1, 3, 3)
    kernels[0] = np.eye(9, dtype=np.float32)[4].reshape(1, 3, 3)  # the input itself
    h = net.relu(net.op("Conv", x, net.constant(kernels), pads=[1, 1, 1, 1]))
    boxes = net.conv(h, 4)
    bright = np.zeros((1, 6, 1, 1), np.float32)
    bright[0, 0] = 8
    bias = net.constant(np.full(1, -8, np.float32))
    found = net.op("Sigmoid", net.op("Conv", h, net.constant(bright), bias))
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


@pytest.mark.parametrize("head", ["image", "classes", "shares"])
def test_where_positions_count_the_same_there_are_no_weights(head: str) -> None:
    """An image whose every pixel is wanted; classes of a whole sample; shares that are open everywhere."""
    net = Net()
    x = net.input(2, 8, 8)
    h = net.relu(net.conv(x, 6, 3, pads=[1, 1, 1, 1]))
    if head == "classes":
        h = net.op("Flatten", net.op("GlobalAveragePool", h))
        net.output(net.op("Sigmoid", net.gemm(h, 4)))
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
        assert whole.shape == (16, 1, SIDE, SIDE) and whole.min() >= UNIFORM and whole.max() <= 2 * MOST
        assert whole.mean() == pytest.approx(1, rel=1e-3), key
    narrow = [key for key in found.values if np.concatenate(weights[key])[there[:, None]].mean() > 20]
    assert trace.graph.nodes[trace.graph.producer[boxes]].outputs[0] in narrow, "boxes count where things are"
    assert all(np.median(np.concatenate(weights[key])) < 0.5 for key in narrow) and len(narrow) >= 2


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


def test_a_fixed_batch_is_run_whole() -> None:
    trace, _ = detector(batch=4)
    batches, there = scenes(8, 4)
    found = Importance.measured(trace, batches)
    assert found is not None
    weights = np.concatenate([found.of(b)[found.values[-1]] for b in batches])
    assert weights.shape[0] == 8 and there.sum() == 8


def test_samples_of_unlike_shape_have_none() -> None:
    net = Net()
    x = net.declare("x1", ["N", 1, "H", "W"])
    net.output(net.op("Sigmoid", net.conv(net.relu(net.conv(x, 4)), 2)))
    trace = trace_model(load(net.model()))
    sizes = [{"x1": np.full((1, 1, side, side), -3, np.float32)} for side in (6, 8)]
    assert Importance.measured(trace, sizes) is None


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
