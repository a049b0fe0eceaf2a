"""The information that outputs have of positions: against what it is where that can be written down."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.fisher import information, of_channels
from onnxprune.capture.training import observer
from onnxprune.model.graph import build
from onnxprune.model.load import load
from tests.builders import Net

Array = NDArray[Any]
DRAWS = 600


def convolution_weights(net: Net, output: str) -> Array:
    node = next(n for n in net.model().graph.node if n.output[0] == output)
    array: Array = load(net.model()).tensors[node.input[1]].array()
    return array.astype(np.float64)


def test_of_channels() -> None:
    assert of_channels((2, 3, 4, 5), 1) == (1, 3, 1, 1) and of_channels((2, 7, 6), -1) == (1, 1, 6)


def test_behind_a_sigmoid_logits_are_as_sensitive_as_its_slope() -> None:
    net = Net()
    x = net.input(2, 5, 5)
    z = net.conv(x, 3)
    net.output(net.op("Sigmoid", z))
    model = load(net.model())
    feeds = {x: net.normal(2, 2, 5, 5, scale=2)}
    found = information(build(model), feeds, {z: 1}, {z: 1})
    (logits,) = observer(model, [z]).run(None, feeds)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(found.sensitivity(feeds, np.random.default_rng(0))[z], p * (1 - p), rtol=1e-4)


def test_weights_are_the_diagonal_of_the_information() -> None:
    """Through a linear layer of one tap: w = mean_c sum_j l_j s_j W_jc^2, at every position; nothing is left of what
    the layer behind it hides (a Relu that is off)."""
    net = Net()
    x = net.input(2, 4, 4)
    a = net.conv(x, 5)
    b = net.relu(a)
    z = net.conv(b, 3)
    net.output(net.op("Sigmoid", z))
    model = load(net.model())
    feeds = {x: net.normal(2, 2, 4, 4, scale=2)}
    found = information(build(model), feeds, {z: 1}, {a: 1, b: 1, z: 1})
    scales = {z: np.array([1.0, 0.5, 3.0], np.float32).reshape(1, 3, 1, 1)}
    rng = np.random.default_rng(1)
    sums = {key: np.zeros((2, 1, 4, 4)) for key in found.values}
    for _ in range(DRAWS):
        for key, weights in found.weights(feeds, scales, {}, rng).items():
            sums[key] += weights / DRAWS
    values, logits = observer(model, [a, z]).run(None, feeds)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    scaled = p * (1 - p) * scales[z]
    np.testing.assert_allclose(sums[z], scaled.mean(axis=1, keepdims=True), rtol=1e-4)
    square = convolution_weights(net, z)[:, :, 0, 0] ** 2
    by_channel = np.einsum("njhw,jc->nchw", scaled, square)
    np.testing.assert_allclose(sums[b], by_channel.mean(axis=1, keepdims=True), rtol=0.25)
    hidden = np.where(values > 0, by_channel, 0).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(sums[a], hidden, rtol=0.35, atol=1e-6)
    assert abs(sums[a].sum() / hidden.sum() - 1) < 0.05


def test_through_a_shortcut_both_ways_count() -> None:
    """y = W r + r: the slopes of both ways are added before they are squared."""
    net = Net()
    x = net.input(3, 3, 3)
    r = net.conv(x, 2)
    z = net.add(net.conv(r, 2), r)
    net.output(z)
    model = load(net.model())
    feeds = {x: net.normal(1, 3, 3, 3, scale=1)}
    found = information(build(model), feeds, {z: 1}, {r: 1})
    one = {z: np.ones((1, 2, 1, 1), np.float32)}
    rng = np.random.default_rng(2)
    mean = np.mean([found.weights(feeds, one, {}, rng)[r] for _ in range(DRAWS)], axis=0)
    branch = next(n.output[0] for n in net.model().graph.node if n.op_type == "Conv" and n.input[0] == r)
    square = (convolution_weights(net, branch)[:, :, 0, 0] + np.eye(2)) ** 2
    np.testing.assert_allclose(mean, np.full((1, 1, 3, 3), square.sum(axis=0).mean()), rtol=0.2)


def test_logits_beside_others_can_share_their_positions() -> None:
    """Boxes, which are open everywhere, times what the classes at the same position say; not those of another map."""
    net = Net()
    h = net.relu(net.conv(net.input(2, 4, 4), 5))
    box, classes = net.conv(h, 4), net.conv(h, 3)
    small = net.conv(net.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2]), 2)
    net.output(box, net.op("Sigmoid", classes), small)
    model = load(net.model())
    feeds = {"x1": net.normal(2, 2, 4, 4, scale=2)}
    found = information(build(model), feeds, dict.fromkeys((box, classes, small), 1), {box: 1, classes: 1})
    assert found.beside == {box: (classes,), classes: (box,), small: ()}
    assert found.positions == {box: 32, classes: 32, small: 8}
    scales = {k: np.ones((1, c, 1, 1), np.float32) for k, c in ((box, 4), (classes, 3), (small, 2))}
    (logits,) = observer(model, [classes]).run(None, feeds)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    told = (p * (1 - p)).sum(axis=1, keepdims=True)
    shared = found.weights(feeds, scales, {box: [0.5, 2.0]}, np.random.default_rng(0))
    np.testing.assert_allclose(shared[box], 0.5 + 2 * told, rtol=1e-4)
    np.testing.assert_allclose(shared[classes], told / 3, rtol=1e-4)
    alone = found.weights(feeds, scales, {}, np.random.default_rng(0))
    np.testing.assert_allclose(alone[box], np.ones((2, 1, 4, 4)), rtol=1e-4)


def test_what_is_chosen_by_content_is_followed_back() -> None:
    """How many rows leave a NonMaxSuppression is not known before: what it chooses from stands for it."""
    net = Net()
    h = net.relu(net.conv(net.input(2, 4, 4), 5))
    z = net.conv(h, 1)
    scores = net.reshape(net.op("Sigmoid", z), 0, 1, -1)
    boxes = net.transpose(net.reshape(net.conv(h, 4), 0, 4, -1), 0, 2, 1)
    limits = (np.array([5], np.int64), np.array([0.5], np.float32), np.array([0.1], np.float32))
    net.output(net.op("NonMaxSuppression", boxes, scores, *map(net.constant, limits)), dtype=np.int64, rank=2)
    model = load(net.model())
    feeds = {"x1": net.normal(1, 2, 4, 4, scale=1)}
    found = information(build(model), feeds, {z: 1}, {z: 1, h: 1})
    assert found is not None and set(found.values) == {z, h}
    (logits,) = observer(model, [z]).run(None, feeds)
    p = 1 / (1 + np.exp(-logits.astype(np.float64)))
    np.testing.assert_allclose(found.sensitivity(feeds, np.random.default_rng(0))[z], p * (1 - p), rtol=1e-4)


def test_what_no_gradient_reaches_is_not_among_the_values() -> None:
    """In front of an operator without a derivative; and logits behind which there is one count the same everywhere."""
    net = Net()
    x = net.input(2, 3, 3)
    a = net.conv(x, 3)
    z = net.conv(net.op("Atan", a), 2)
    net.output(net.op("Atan", z))
    model = load(net.model())
    feeds = {x: net.normal(1, 2, 3, 3, scale=1)}
    found = information(build(model), feeds, {z: 1}, {a: 1, z: 1})
    assert found.values == (z,)
    assert (found.sensitivity(feeds, np.random.default_rng(0))[z] == 1).all()
