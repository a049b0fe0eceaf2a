"""ThiNet, OBD on the outputs and Wanda against their definitions."""

from __future__ import annotations

import numpy as np

from examples import random_consumer, removed_output
from onnxprune.choose.score.consumers import get, plain

CONSUMERS = [random_consumer(9, 3, 4, 0), random_consumer(9, 1, 5, 1, extra=2, bias=False)]


def test_interactions_by_definition() -> None:
    matrix = plain.interactions(CONSUMERS, 9)
    for i in range(9):
        for j in range(9):
            if i != j:
                both = removed_output(CONSUMERS, [i, j])
                expected = (both - removed_output(CONSUMERS, [i]) - removed_output(CONSUMERS, [j])) / 2
                np.testing.assert_allclose(matrix[i, j], expected, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(matrix.diagonal(), [removed_output(CONSUMERS, [i]) for i in range(9)])


def test_thinet_is_the_exhaustive_greedy_search() -> None:
    gone: list[int] = []
    errors = [0.0]
    while len(gone) < 9:
        error, unit = min((removed_output(CONSUMERS, [*gone, q]), q) for q in range(9) if q not in gone)
        gone.append(unit)
        errors.append(error)
    removal = get("thinet")(CONSUMERS, 9)
    assert removal.order.tolist() == gone
    np.testing.assert_allclose(removal.errors, np.maximum.accumulate(errors), rtol=1e-9)


def test_obd_output_adds_up_single_units() -> None:
    costs = np.array([removed_output(CONSUMERS, [q]) for q in range(9)])
    removal = get("obd-output")(CONSUMERS, 9)
    assert removal.order.tolist() == np.argsort(costs).tolist()
    np.testing.assert_allclose(removal.errors, np.concatenate([[0], np.cumsum(np.sort(costs))]))


def test_wanda_by_definition() -> None:
    scores = np.zeros(9)
    for consumer in CONSUMERS:
        for feature, unit in enumerate(consumer.unit):
            if unit >= 0:
                root = np.sqrt(consumer.gram[feature, feature])
                scores[unit] += sum(abs(w) * root for w in consumer.weight[feature])
    removal = get("wanda")(CONSUMERS, 9)
    assert removal.order.tolist() == np.argsort(scores).tolist()
    errors = [removed_output(CONSUMERS, removal.order[:k].tolist()) for k in range(10)]
    np.testing.assert_allclose(removal.errors, np.maximum.accumulate(errors), rtol=1e-9)


def test_many_features_in_parts() -> None:
    consumer = random_consumer(70, 9, 3, 2)
    matrix = plain.interactions([consumer], 70)
    np.testing.assert_allclose(matrix.sum(), removed_output([consumer], list(range(70))), rtol=1e-9)
    np.testing.assert_allclose(matrix.diagonal(), plain.own_costs([consumer], 70), rtol=1e-9)
