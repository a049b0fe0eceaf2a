"""A training step: its loss against numpy, its gradients against finite differences, and what no gradient reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from onnxprune.capture.training import Goals, Step, Weights, observer, training_step
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from tests.builders import Net

Array = NDArray[Any]
Made = tuple[Model, dict[str, Array], list[str]]


def picture() -> Made:
    """Convolution, normalisation, depthwise convolution, shortcut, classifier."""
    net = Net()
    x = net.input(2, 5, 5)
    a = net.op("Sigmoid", net.bn(net.conv(x, 4, 3, pads=[1, 1, 1, 1])))
    b = net.add(net.conv(a, 4, 3, group=4, pads=[1, 1, 1, 1]), a)
    y = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", b)), 3)
    net.output(y)
    return load(net.model()), {x: net.normal(3, 2, 5, 5, scale=1)}, [b, y]


def sequence() -> Made:
    """Matrix products, added constants, layer normalisation."""
    net = Net()
    x = net.input(4, 6)
    a = net.op("LayerNormalization", net.dense(x, 5), net.positive(5), net.normal(5))
    y = net.dense(net.op("Tanh", a), 3)
    net.output(y)
    return load(net.model()), {x: net.normal(2, 4, 6, scale=1)}, [a, y]


def floats(model: Model) -> list[str]:
    return [name for name, tensor in model.tensors.items() if tensor.dtype == onnx.TensorProto.FLOAT]


def prepared(made: Made, wanted: list[str] | None = None) -> tuple[Step, Weights, Goals]:
    model, feeds, targets = made
    rng = np.random.default_rng(1)
    values = observer(model, targets).run(None, feeds)
    goals = [v + rng.standard_normal(v.shape).astype(np.float32) for v in values]
    names = floats(model) if wanted is None else wanted
    step = training_step(build(model), feeds, names, targets, [0.5, 2.0], threads=1)
    return step, {name: model.tensors[name].array().copy() for name in step.weights}, Goals(goals)


@pytest.mark.parametrize("make", [picture, sequence])
def test_the_loss_is_the_mean_of_relative_squared_errors(make: Any) -> None:
    made = make()
    step, weights, goals = prepared(made)
    values = observer(made[0], made[2]).run(None, made[1])
    parts = [((v - g) ** 2).mean() / s for v, g, s in zip(values, goals.targets, (0.5, 2.0), strict=True)]
    loss, gradients = step.run(made[1], goals, weights)
    assert loss == pytest.approx(np.mean(parts), rel=1e-5) == pytest.approx(step.loss(made[1], goals, weights))
    assert [g.shape for g in gradients] == [weights[name].shape for name in step.weights]
    assert step.loss(made[1], Goals(values), weights) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("make", [picture, sequence])
def test_positions_count_by_their_weights(make: Any) -> None:
    """The first target has weights of its positions, the second one none."""
    made = make()
    model, feeds, targets = made
    names = floats(model)
    values = observer(model, targets).run(None, feeds)
    rng = np.random.default_rng(3)
    goals = [v + rng.standard_normal(v.shape).astype(np.float32) for v in values]
    shape = list(values[0].shape)
    shape[1 if values[0].ndim == 4 else -1] = 1
    counts = rng.uniform(0, 4, shape).astype(np.float32)
    step = training_step(build(model), feeds, names, targets, [0.5, 2.0], threads=1, weighted={0: counts.shape})
    weights = {name: model.tensors[name].array().copy() for name in step.weights}
    weighed = Goals(goals, {0: counts})
    parts = [
        (count * (v - g) ** 2).mean() / s
        for v, g, s, count in zip(values, goals, (0.5, 2.0), (counts, np.float32(1)), strict=True)
    ]
    loss, gradients = step.run(feeds, weighed, weights)
    assert loss == pytest.approx(np.mean(parts), rel=1e-5) == pytest.approx(step.loss(feeds, weighed, weights))
    even = Goals(goals, {0: np.ones_like(counts)})
    plain = training_step(build(model), feeds, names, targets, [0.5, 2.0], threads=1)
    for a, b in zip(step.run(feeds, even, weights)[1], plain.run(feeds, Goals(goals), weights)[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)
    name, gradient = next((n, g) for n, g in zip(step.weights, gradients, strict=True) if weights[n].ndim > 1)
    h = np.float32(1e-2 / np.linalg.norm(gradient))
    ends = [step.loss(feeds, weighed, weights | {name: weights[name] + s * h * gradient}) for s in (1, -1)]
    assert (ends[0] - ends[1]) / (2 * float(h)) == pytest.approx(float((gradient**2).sum()), rel=2e-2)


@pytest.mark.parametrize("make", [picture, sequence])
def test_gradients_are_finite_differences(make: Any) -> None:
    """Every weight along random directions; with them all known, the loss falls down the gradient."""
    made = make()
    step, weights, goals = prepared(made)
    statistics = {
        n for node in made[0].proto.graph.node if node.op_type == "BatchNormalization" for n in node.input[3:]
    }
    assert set(floats(made[0])) - statistics <= set(step.weights)
    _, gradients = step.run(made[1], goals, weights)
    rng = np.random.default_rng(2)
    for name, gradient in zip(step.weights, gradients, strict=True):
        for _ in range(3):
            direction = rng.standard_normal(gradient.shape).astype(np.float32)
            h = np.float32(1e-2 / np.linalg.norm(direction))
            ends = [step.loss(made[1], goals, weights | {name: weights[name] + s * h * direction}) for s in (1, -1)]
            slope = (ends[0] - ends[1]) / (2 * float(h))
            assert slope == pytest.approx(float((gradient * direction).sum()), rel=2e-2, abs=2e-3), name
    lower = {n: weights[n] - 1e-3 * g for n, g in zip(step.weights, gradients, strict=True)}
    assert step.loss(made[1], goals, lower) < step.loss(made[1], goals, weights)


def test_weights_are_inputs_and_nothing_is_stored() -> None:
    made = sequence()
    before = made[0].complete_proto().SerializeToString()
    step, weights, goals = prepared(made)
    first = step.run(made[1], goals, weights)
    step.run(made[1], goals, {name: array * 2 for name, array in weights.items()})
    again = step.run(made[1], goals, weights)
    assert first[0] == again[0] and all((a == b).all() for a, b in zip(first[1], again[1], strict=True))
    assert made[0].complete_proto().SerializeToString() == before


def test_what_no_gradient_reaches_is_frozen_with_a_reason() -> None:
    """An operator without a derivative: in front of it only what has a target there can be adjusted, behind it all."""
    net = Net()
    x = net.input(6)
    a, b = net.matmul(x, 5), None
    b = net.op("Atan", a)
    y = net.matmul(b, 3)
    net.output(y)
    model = load(net.model())
    front, back = (node.input[1] for node in model.proto.graph.node if node.op_type == "MatMul")
    feeds = {x: net.normal(4, 6)}
    step = training_step(build(model), feeds, [front, back], [y], [1.0])
    assert step.weights == (back,) and set(step.frozen) == {front} and "Atan" in step.frozen[front]
    both = training_step(build(model), feeds, [front, back], [a, y], [1.0, 1.0])
    assert both.weights == (front, back) and not both.frozen


def test_an_observer_computes_what_it_shows_and_nothing_else() -> None:
    """What is behind would fail: a Reshape into a size that the value does not have."""
    net = Net()
    h = net.relu(net.dense(net.input(6, 4, name="x"), 8, name="a"))
    net.output(net.op("Reshape", net.op("Exp", h), net.declare("size", [2], np.int64)), rank=2)
    model = load(net.model())
    feeds = {"x": np.ones((3, 6, 4), np.float32), "size": np.array([5, 5])}
    (found,) = observer(model, [h]).run(None, feeds)
    assert found.shape == (3, 6, 8)
    with pytest.raises(Exception, match="cannot be reshaped"):
        observer(model, [model.proto.graph.output[0].name]).run(None, feeds)
