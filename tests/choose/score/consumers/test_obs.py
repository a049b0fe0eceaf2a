"""Greedy block OBS against solving every least squares problem anew."""

from __future__ import annotations

import numpy as np
import pytest

from examples import RIDGE, consumer_of, optimum, random_consumer, random_inputs
from onnxprune.choose.score.consumers import Consumer, get, obs, refit_errors
from onnxprune.choose.score.registry import FloatArray


def exhaustive(consumers: list[Consumer], n: int) -> tuple[list[int], FloatArray]:
    start = sum(optimum(c, []) for c in consumers)
    gone: list[int] = []
    errors = [0.0]
    while len(gone) < n:
        tried = [(sum(optimum(c, [*gone, q]) for c in consumers) - start, q) for q in range(n) if q not in gone]
        least, unit = min(tried)
        gone.append(unit)
        errors.append(least)
    return gone, np.array(errors)


CASES = {
    "1x1": [random_consumer(9, 1, 5, 0)],
    "3x3": [random_consumer(7, 9, 4, 1)],
    "no bias": [random_consumer(6, 4, 3, 2, bias=False)],
    "other inputs": [random_consumer(6, 2, 3, 3, extra=7)],
    "one output": [random_consumer(8, 2, 1, 4)],
    "two consumers": [random_consumer(8, 3, 4, 5), random_consumer(8, 1, 6, 6, extra=3, bias=False)],
}


@pytest.mark.parametrize("name", CASES)
def test_every_step_is_the_best_one_and_costs_what_it_says(name: str) -> None:
    consumers = CASES[name]
    n = int(max(c.unit.max() for c in consumers)) + 1
    order, errors = exhaustive(consumers, n)
    removal = get("obs")(consumers, n)
    assert removal.order.tolist() == order
    np.testing.assert_allclose(removal.errors, errors, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("panel", [1, 5, 40])
def test_waiting_panels_change_nothing(panel: int, monkeypatch: pytest.MonkeyPatch) -> None:
    consumers = [random_consumer(20, 3, 4, 7), random_consumer(20, 1, 4, 8)]
    expected = get("obs")(consumers, 20)
    monkeypatch.setattr(obs, "_PANEL", panel)
    removal = get("obs")(consumers, 20)
    assert removal.order.tolist() == expected.order.tolist()
    np.testing.assert_allclose(removal.errors, expected.errors, rtol=1e-10, atol=1e-13)


def test_units_of_unequal_size_and_mixed_features() -> None:
    x, _ = random_inputs(12, 1, 0, 9)
    unit = [2, 0, 2, 1, -1, 3, 0, 2, 3, 4, -1, 0, -1]
    consumers = [consumer_of(x, np.random.default_rng(0).standard_normal((13, 4)), unit), random_consumer(5, 2, 3, 10)]
    order, errors = exhaustive(consumers, 5)
    removal = get("obs")(consumers, 5)
    assert removal.order.tolist() == order
    np.testing.assert_allclose(removal.errors, errors, rtol=1e-9, atol=1e-12)


def test_units_that_only_some_consumers_read() -> None:
    x, _ = random_inputs(4, 2, 0, 11, bias=False)
    weight = np.random.default_rng(0).standard_normal((8, 3))
    consumers = [consumer_of(x, weight, [0, 0, 5, 5, 2, 2, 3, 3]), random_consumer(4, 1, 3, 12)]
    order, errors = exhaustive(consumers, 6)
    removal = get("obs")(consumers, 6)
    assert removal.order[0] == 4  # nobody reads it
    assert removal.order[1:].tolist() == [u for u in order if u != 4]
    np.testing.assert_allclose(removal.errors, errors, rtol=1e-9, atol=1e-12)


def test_of_two_equal_channels_one_leaves_for_nothing() -> None:
    x, unit = random_inputs(6, 3, 0, 13)
    x[:, 12:15] = x[:, 3:6]  # unit 4 is unit 1
    consumer = consumer_of(x, np.random.default_rng(0).standard_normal((x.shape[1], 5)), unit)
    removal = obs.obs([consumer], 6, ridge=1e-9)
    assert removal.order[0] in (1, 4) and removal.errors[1] < 1e-7
    assert removal.errors[2] > 1e-3


def test_what_the_bias_can_do_costs_nothing() -> None:
    x, unit = random_inputs(6, 2, 0, 14)
    x[:, 6:8] = (2.0, -3.0)  # unit 3 is constant
    removal = obs.obs([consumer_of(x, np.random.default_rng(0).standard_normal((x.shape[1], 4)), unit)], 6, ridge=1e-9)
    assert removal.order[0] == 3 and removal.errors[1] < 1e-7


def test_errors_of_a_given_order() -> None:
    consumers = [random_consumer(10, 2, 4, 15), random_consumer(10, 1, 3, 16)]
    order = np.random.default_rng(0).permutation(10)
    errors = refit_errors(consumers, order)
    start = sum(optimum(c, []) for c in consumers)
    expected = [sum(optimum(c, order[:k].tolist()) for c in consumers) - start for k in range(11)]
    np.testing.assert_allclose(errors, expected, rtol=1e-9, atol=1e-12)
    removal = get("obs")(consumers, 10)
    np.testing.assert_allclose(refit_errors(consumers, removal.order), removal.errors, rtol=1e-12)


def test_the_last_error_is_what_the_bias_alone_leaves() -> None:
    """Without units only the mean can be kept: the variance of the fitted output is lost, that is its power."""
    x, unit = random_inputs(8, 2, 0, 17)
    consumer = consumer_of(x, np.random.default_rng(0).standard_normal((x.shape[1], 4)), unit)
    assert get("obs")([consumer], 8).errors[-1] == pytest.approx(1.0, rel=10 * RIDGE)


def test_fewer_positions_than_features() -> None:
    rng = np.random.default_rng(0)
    consumer = consumer_of(rng.standard_normal((15, 40)), rng.standard_normal((40, 6)), [i // 4 for i in range(40)])
    order, errors = exhaustive([consumer], 10)
    removal = get("obs")([consumer], 10)
    assert removal.order.tolist() == order
    np.testing.assert_allclose(removal.errors, errors, rtol=1e-6, atol=1e-9)
