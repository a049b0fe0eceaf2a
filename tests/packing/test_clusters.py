"""Codebooks: the best ones are the best, linear ones are Lloyd's."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.packing.clusters import Partition, Points, linear, nearest
from onnxprune.packing.values import describe, points

numbers = st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=9, unique=True)


def cost(values: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> float:
    distance = np.abs(values[:, None] - centres[None]).min(axis=1)
    return float((weights * distance**2).sum())


@settings(max_examples=200, deadline=None)
@given(numbers, st.integers(1, 6), st.randoms(use_true_random=False))
def test_no_partition_is_better(values: list[float], count: int, random: object) -> None:
    x = np.sort(np.array(values, np.float64))
    w = np.array([random.randint(1, 9) for _ in x], np.float64)  # type: ignore[attr-defined]
    found = Partition(Points(x, w), count)
    best = np.inf
    for cuts in itertools.combinations(range(1, len(x)), min(count, len(x)) - 1):
        runs = np.split(np.arange(len(x)), cuts)
        centres = np.array([np.average(x[run], weights=w[run]) for run in runs])
        best = min(best, sum(float((w[r] * (x[r] - c) ** 2).sum()) for r, c in zip(runs, centres, strict=True)))
    scale = float((w * x**2).sum()) + 1e-12
    assert found.costs[-1] <= best + 1e-9 * scale
    assert cost(x, w, found.centres(count)) == pytest.approx(best, abs=1e-9 * scale)


def test_every_number_of_clusters_in_one_run() -> None:
    rng = np.random.default_rng(0)
    x, w = np.sort(rng.standard_normal(700)), rng.integers(1, 50, 700).astype(float)
    found = Partition(Points(x, w), 32)
    assert all(a >= b for a, b in itertools.pairwise(found.costs[1:]))
    for count in (1, 2, 7, 32):
        centres = found.centres(count)
        assert len(centres) == count and (np.diff(centres) > 0).all()
        assert cost(x, w, centres) == pytest.approx(found.costs[count], rel=1e-9)
        assert found.costs[count] <= cost(x, w, linear(Points(x, w), count)) * (1 + 1e-9)


def test_linear_centres_do_not_move_any_more() -> None:
    x = np.sort(np.random.default_rng(1).standard_normal(500))
    w = np.ones(500)
    centres = linear(Points(x, w), 8)
    member = nearest(centres, x)
    for k in range(8):
        if (member == k).any():
            assert centres[k] == pytest.approx(x[member == k].mean())


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5000), st.integers(0, 3))
def test_points_stand_for_all_weights_but_zeros(count: int, parts: int) -> None:
    weight = np.random.default_rng(count).standard_normal(count).astype(np.float32)
    weight[:: parts + 2] = 0
    pieces = lambda: iter(np.array_split(weight, parts + 1))  # noqa: E731
    values = describe(pieces)
    assert (values.count, values.zeros) == (count, int((weight == 0).sum()))
    if values.zeros == count:
        return
    found = points(pieces, values)
    wide = weight[weight != 0].astype(np.float64)
    assert found.weights.sum() == len(wide)
    assert (found.weights * found.values).sum() == pytest.approx(wide.sum(), abs=1e-6)
    square = (found.weights * found.values**2).sum() + found.within
    assert square == pytest.approx((wide**2).sum(), rel=1e-9)


def test_few_values_are_told_by_their_bits() -> None:
    weight = np.tile(np.array([0.0, -0.0, 1.5, np.nan], np.float32), 100)
    values = describe(lambda: iter([weight[:150], weight[150:]]))
    assert values.distinct is not None and len(values.distinct) == 4 and not values.finite
    assert describe(lambda: iter([np.arange(257, dtype=np.float32)])).distinct is None
