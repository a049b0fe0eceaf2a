"""The LASSO path against coordinate descent, and the order that follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from examples import consumer_of, random_consumer, random_inputs
from onnxprune.choose.score.consumers import get, plain, refit_errors
from onnxprune.choose.score.consumers.homotopy import Path, lasso_path
from onnxprune.choose.score.registry import FloatArray

SHARES = (0.95, 0.7, 0.4, 0.15, 0.03, 0.002)


def coordinate_descent(matrix: FloatArray, right: FloatArray, price: float) -> FloatArray:
    x = np.zeros(len(right))
    for _ in range(50_000):
        before = x.copy()
        for j in range(len(x)):
            rest = right[j] - matrix[j] @ x + matrix[j, j] * x[j]
            x[j] = np.sign(rest) * max(abs(rest) - price, 0.0) / matrix[j, j]
        if np.abs(x - before).max() < 1e-13:
            break
    return x


def on_path(path: Path, price: float) -> FloatArray:
    _, line = [knot for knot in path.knots if knot[0] >= price][-1]
    x: FloatArray = line[:, 0] - price * line[:, 1]
    return x


@pytest.mark.parametrize("seed", range(12))
def test_the_path_is_the_solution_at_every_price(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 14))
    x = rng.standard_normal((2 * n + 2, n)) + rng.standard_normal((2 * n + 2, 1))
    matrix, right = x.T @ x, x.T @ rng.standard_normal(2 * n + 2)
    path = lasso_path(matrix, right, record=True)
    assert path.vanishing.max() == pytest.approx(np.abs(right).max())
    for share in SHARES:
        price = share * float(np.abs(right).max())
        np.testing.assert_allclose(on_path(path, price), coordinate_descent(matrix, right, price), atol=1e-6)
    np.testing.assert_allclose(path.last, np.linalg.solve(matrix, right), atol=1e-5)


def test_optimality_with_many_units() -> None:
    """At every event: |correlation| = lambda with the sign of x where x is not zero, below elsewhere."""
    consumer = random_consumer(60, 2, 3, 0)
    matrix, right = plain.interactions([consumer], 60), plain.alignment([consumer], 60)
    path = lasso_path(matrix, right, record=True)
    for price, line in path.knots:
        x = line[:, 0] - price * line[:, 1]
        correlation = right - matrix @ x
        assert np.abs(correlation).max() <= price * (1 + 1e-6) + 1e-12
        nonzero = np.abs(x) > 1e-6
        np.testing.assert_allclose(correlation[nonzero], price * np.sign(x[nonzero]), rtol=1e-4, atol=1e-9)


def test_the_definition_of_matrix_and_alignment() -> None:
    """min |T - sum beta_i X_i W_i|^2 from samples has the same normal equations."""
    x, unit = random_inputs(5, 2, 3, 1)
    rng = np.random.default_rng(0)
    weight, target = rng.standard_normal((len(unit), 4)), rng.standard_normal((len(x), 4))
    consumer = consumer_of(x, weight, unit, target)
    mine = np.array(unit) >= 0
    parts = np.stack([(x[:, np.array(unit) == i] @ weight[np.array(unit) == i]).ravel() for i in range(5)], axis=1)
    rest = (target - x[:, ~mine] @ weight[~mine]).ravel()
    scale = len(x) * consumer.power
    np.testing.assert_allclose(plain.interactions([consumer], 5), parts.T @ parts / scale, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(plain.alignment([consumer], 5), parts.T @ rest / scale, rtol=1e-9, atol=1e-12)


def test_units_leave_as_the_price_rises() -> None:
    consumers = [random_consumer(12, 2, 4, 2), random_consumer(12, 1, 3, 3)]
    removal = get("lasso")(consumers, 12)
    matrix, right = plain.interactions(consumers, 12), plain.alignment(consumers, 12)
    for k in range(12):
        price = lasso_path(matrix, right).vanishing[removal.order[k]]
        solution = coordinate_descent(matrix, right, price * 1.0001)
        assert set(np.flatnonzero(solution == 0.0).tolist()) >= set(removal.order[: k + 1].tolist())
    np.testing.assert_array_equal(removal.errors, refit_errors(consumers, removal.order))


def test_of_equal_columns_one_enters_and_zero_columns_never() -> None:
    x = np.random.default_rng(0).standard_normal((30, 4))
    x = np.c_[x, x[:, 1], np.zeros(30)]
    path = lasso_path(x.T @ x, x.T @ x.sum(axis=1))
    assert path.vanishing[1] > 0.0 and path.vanishing[4] == 0.0  # one column does for two
    np.testing.assert_allclose(path.last, [1, 2, 1, 1, 0, 0], atol=1e-6)


def test_nothing_to_fit() -> None:
    assert lasso_path(np.zeros((3, 3)), np.zeros(3)).vanishing.tolist() == [0, 0, 0]
    assert lasso_path(np.zeros((0, 0)), np.zeros(0)).vanishing.tolist() == []
