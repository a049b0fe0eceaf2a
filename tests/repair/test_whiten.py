"""Coordinates of gradient steps: the whitening against its formula, the chain rule, and what they are good for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.model.graph import Graph, build
from onnxprune.model.load import load
from onnxprune.repair import whiten
from onnxprune.repair.adam import Adam
from onnxprune.repair.reconstruct import _weights as trainable
from onnxprune.repair.whiten import Metric, Own, Whitened, _inputs, _layers, coordinates, whitening
from tests.builders import Net

Array = NDArray[Any]
RIDGE = 0.05


def root(gram: Array, power: float, ridge: float = RIDGE) -> Array:
    """(A / m + ridge I)^(power), by all eigenvalues."""
    values, vectors = np.linalg.eigh(gram / (np.trace(gram) / len(gram)) + ridge * np.eye(len(gram)))
    return np.asarray((vectors * values**power) @ vectors.T)


def rows(count: int, size: int, seed: int = 0) -> Array:
    """Correlated, with a mean."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, size)) @ rng.standard_normal((size, size)) + 2).astype(np.float32)


def dense(metric: Metric, size: int) -> Array:
    return metric.times(np.eye(size, dtype=np.float32))


@pytest.mark.parametrize(("count", "size"), [(50, 7), (7, 7), (5, 12), (3, 1)])
def test_it_is_the_inverse_root_of_the_second_moment(count: int, size: int) -> None:
    x = rows(count, size)
    metric = whitening(x, RIDGE)
    np.testing.assert_allclose(dense(metric, size), root(x.T @ x / count, -0.5), rtol=2e-3, atol=2e-3)
    np.testing.assert_allclose(dense(metric, size) @ dense(metric.inverse(), size), np.eye(size), atol=1e-4)


def test_groups_are_problems_of_their_own() -> None:
    x = np.stack([rows(40, 4, seed) for seed in range(3)])
    metric, eye = whitening(x, RIDGE), np.broadcast_to(np.eye(4, dtype=np.float32), (3, 4, 4))
    for found, part in zip(metric.times(eye), x, strict=True):
        np.testing.assert_allclose(found, dense(whitening(part, RIDGE), 4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("count", "size"), [(60, 12), (8, 12)])
def test_beyond_its_rank_all_directions_count_as_their_mean(
    monkeypatch: pytest.MonkeyPatch, count: int, size: int
) -> None:
    x = rows(count, size).astype(np.float64)
    monkeypatch.setattr(whiten, "RANK", 3)
    found = dense(whitening(x.astype(np.float32), RIDGE), size)
    values, vectors = np.linalg.eigh(x.T @ x / count)
    values[:-3] = values[:-3].mean()
    np.testing.assert_allclose(found, root((vectors * values) @ vectors.T, -0.5), rtol=2e-3, atol=2e-3)


def test_beyond_its_rank_every_group_keeps_its_strongest_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.stack([rows(40, 5, seed) for seed in range(3)])
    monkeypatch.setattr(whiten, "RANK", 2)
    found = whitening(x, RIDGE).times(np.broadcast_to(np.eye(5, dtype=np.float32), (3, 5, 5)))
    for one, part in zip(found, x.astype(np.float64), strict=True):
        values, vectors = np.linalg.eigh(part.T @ part / 40)
        values[:-2] = values[:-2].mean()
        np.testing.assert_allclose(one, root((vectors * values) @ vectors.T, -0.5), rtol=2e-3, atol=2e-3)


def test_inputs_that_are_all_zero() -> None:
    metric = whitening(np.zeros((5, 3), np.float32), RIDGE)
    assert np.isfinite(dense(metric, 3)).all() and np.isfinite(dense(metric.inverse(), 3)).all()


def network() -> tuple[Graph, list[dict[str, Array]]]:
    """With groups, depthwise, transposed, with alpha, without a bias; two that share a weight."""
    net = Net()
    x = net.input(4, 6, 6)
    a = net.relu(net.conv(x, 8, 3, pads=[1, 1, 1, 1]))
    a = net.relu(net.conv(a, 8, 3, group=2))
    a = net.relu(net.conv(a, 8, 1, group=8))
    a = net.relu(net.bn(net.transposed(a, 6, 3, strides=[2, 2])))
    a = net.relu(net.transposed(a, 6, 2, group=3))
    a = net.op("Flatten", net.op("GlobalAveragePool", a))
    a = net.op("Gemm", a, net.normal(5, 6), net.normal(5), transB=1, alpha=0.5)
    shared = net.constant(net.normal(5, 5))
    a = net.op("MatMul", net.relu(net.op("MatMul", a, shared)), shared)
    net.output(net.add(net.matmul(net.relu(a), 3), net.normal(3)))
    rng = np.random.default_rng(1)
    return build(load(net.model())), [{x: rng.standard_normal((4, 4, 6, 6)).astype(np.float32)} for _ in range(5)]


def weights_of(graph: Graph) -> dict[str, NDArray[np.float32]]:
    return {name: graph.model.tensors[name].array().astype(np.float32) for name in trainable(graph)}


def test_they_cover_every_tensor_once_and_lead_back() -> None:
    graph, feeds = network()
    weights = weights_of(graph)
    found = coordinates(graph, list(weights), feeds)
    assert sum(isinstance(c, Whitened) for c in found) == 7
    written = [c.write(c.read(weights)) for c in found]
    names = [name for tensors in written for name in tensors]
    assert sorted(names) == sorted(weights), "each in one of them"
    for tensors in written:
        for name, array in tensors.items():
            assert array.shape == weights[name].shape and array.dtype == np.float32
            np.testing.assert_allclose(array, weights[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("bias", [False, True])
def test_coordinates_are_the_weights_by_the_root_of_what_the_feeds_measure(bias: bool) -> None:
    """V = P^-1 W by the formula, from all positions of all feeds; the bias is the row of a constant feature."""
    net = Net()
    x = net.input(6)
    net.output(net.op("Gemm", x, net.normal(6, 3), *[net.normal(3)] * bias))
    graph = build(load(net.model()))
    whole = rows(45, 6)
    (one,) = coordinates(graph, trainable(graph), [{x: whole[k : k + 15]} for k in (0, 15, 30)])
    weight, *rest = weights_of(graph).values()
    seen = whole.astype(np.float64)
    if bias:
        constant = np.sqrt(np.mean(seen**2))
        seen = np.concatenate([seen, np.full((45, 1), constant)], axis=1)
        weight = np.concatenate([weight, rest[0][None] / constant])
    wanted = root(seen.T @ seen / 45, 0.5, 0.05 + 6 / 45) @ weight
    np.testing.assert_allclose(one.read(weights_of(graph)), wanted, rtol=2e-3, atol=2e-3)


def test_sampled_positions_are_many_and_spread_over_the_feeds(monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net()
    x = net.input(50, 2)
    net.output(net.matmul(x, 3))
    graph = build(load(net.model()))
    numbers = np.arange(4 * 100 * 2, dtype=np.float32).reshape(4, 2, 50, 2)
    monkeypatch.setattr(whiten, "ROWS", 120)
    layers = _layers(graph, set(trainable(graph)))
    ((found, count),) = _inputs(graph, layers, [{x: part} for part in numbers])
    feed, position = np.divmod(found[:, 0] / 2, 100)
    assert count == 400 and np.unique(found[:, 0]).size == 120, "no position twice"
    assert np.bincount(feed.astype(int)).tolist() == [30] * 4
    assert position.min() < 20 and position.max() >= 80


def test_the_chain_rule() -> None:
    """For L = sum of g * tensor, which is linear: L(V + step) - L(V) = slope * step."""
    graph, feeds = network()
    weights, rng = weights_of(graph), np.random.default_rng(2)
    slopes = {name: rng.standard_normal(w.shape).astype(np.float32) for name, w in weights.items()}
    for one in coordinates(graph, list(weights), feeds):
        values = one.read(weights)
        step = rng.standard_normal(values.shape).astype(np.float32)
        before, after = one.write(values), one.write(values + step)
        change = sum(float(np.sum(slopes[n] * (after[n] - before[n]), dtype=np.float64)) for n in before)
        assert change == pytest.approx(float(np.sum(one.slope(slopes) * step, dtype=np.float64)), rel=1e-3, abs=1e-3)


def test_a_weight_that_two_layers_read_and_a_tensor_of_no_layer_are_left_as_they_are() -> None:
    graph, feeds = network()
    own = {c.name for c in coordinates(graph, trainable(graph), feeds) if isinstance(c, Own)}
    shared = [name for name, readers in graph.consumers.items() if len(readers) == 2 and name in graph.model.tensors]
    assert set(shared) <= own and len(own) > len(shared)


def test_evidence_is_the_number_of_positions_for_each_feature() -> None:
    """Of all feeds, also where only some of them are measured."""
    net = Net()
    x = net.input(4, 6, 6)
    net.output(net.conv(net.conv(x, 8, 3), 2, 1))
    graph = build(load(net.model()))
    for feeds in (5, 100):
        made = [{x: np.ones((3, 4, 6, 6), np.float32)}] * feeds
        found = [c.evidence for c in coordinates(graph, trainable(graph), made)]
        assert found == pytest.approx([feeds * 3 * 16 / (4 * 9), feeds * 3 * 16 / 8])


def test_coordinates_do_not_depend_on_the_unit_of_the_input() -> None:
    """x in thousandths with weights that are a thousand times as large: the same V."""
    found = []
    for unit in (1.0, 1000.0):
        net = Net()
        x = net.input(6)
        net.output(net.op("Gemm", x, net.normal(6, 3) / unit, net.normal(3)))
        graph = build(load(net.model()))
        sample = np.random.default_rng(0).standard_normal((50, 6)).astype(np.float32) + 1
        (one,) = coordinates(graph, trainable(graph), [{x: sample * np.float32(unit)}])
        found.append(one.read(weights_of(graph)))
    np.testing.assert_allclose(found[0][:-1] / found[0][0, 0], found[1][:-1] / found[1][0, 0], rtol=1e-3, atol=1e-4)


def test_steps_get_further_where_inputs_have_a_mean() -> None:
    """Least squares behind a ReLU, by Adam with minibatches, in both coordinates."""
    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((4000, 20)) @ rng.standard_normal((20, 20)) + 3, 0).astype(np.float32)
    goal = rng.standard_normal((20, 4)).astype(np.float32)
    start = (goal + 0.3 * rng.standard_normal(goal.shape)).astype(np.float32)

    def loss_after(metric: Metric | None) -> float:
        values = start.copy() if metric is None else metric.inverse().times(start)
        adam = Adam([values], 0.02, 100)
        for k in range(100):
            part = x[k * 40 : k * 40 + 40]
            weight = values if metric is None else metric.times(values)
            gradient = part.T @ (part @ (weight - goal))
            adam.step([gradient if metric is None else metric.times(gradient)])
        weight = values if metric is None else metric.times(values)
        return float(np.mean(np.square(x @ (weight - goal))))

    assert loss_after(whitening(x, RIDGE)) < 0.3 * loss_after(None)
