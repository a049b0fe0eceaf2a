"""Streamed histograms, and the ranges that they give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.quantizing.ranges import Histogram, least_error, min_max, percentile
from onnxprune.quantizing.static import activation_grid

RNG = np.random.default_rng(0)


def histogram(*parts: np.ndarray) -> Histogram:
    found = Histogram()
    for part in parts:
        found.add(part.astype(np.float32))
    return found


def cost(values: np.ndarray, ends: tuple[float, float]) -> float:
    grid = activation_grid(*ends)
    return float(np.mean((grid.rounded(values) - values) ** 2))


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_it_does_not_matter_how_samples_are_batched(seed: int, parts: int) -> None:
    """But for the bin of a value that lies on an edge once bins are wider."""
    rng = np.random.default_rng(seed)
    values = (rng.standard_normal(4000) * rng.choice([0.01, 1, 100])).astype(np.float32)
    whole, split = histogram(values), histogram(*np.array_split(values, parts))
    assert (whole.low, whole.high, whole.zeros) == (split.low, split.high, split.zeros)
    assert whole.counts.sum() + whole.zeros == split.counts.sum() + split.zeros == 4000
    np.testing.assert_allclose(least_error(whole), least_error(split), rtol=0.1)


@pytest.mark.parametrize(
    "values",
    [
        RNG.standard_normal(20_000),
        np.maximum(RNG.standard_normal(20_000), 0),
        RNG.standard_t(2, 20_000),
        np.concatenate([RNG.standard_normal(20_000), [60.0]]),
        -RNG.exponential(1, 20_000),
    ],
    ids=["normal", "rectified", "heavy tails", "an outlier", "negative"],
)
def test_the_least_error_is_no_larger_than_that_of_the_others(values: np.ndarray) -> None:
    values = values.astype(np.float32)
    found = histogram(values)
    least = cost(values, least_error(found))
    assert least <= 1.02 * cost(values, min_max(found))
    assert least <= 1.02 * cost(values, percentile(found))


def test_ranges_hold_zero_and_no_more_than_was_seen() -> None:
    found = histogram(np.linspace(2, 5, 100))
    assert min_max(found) == (0.0, 5.0)
    for low, high in (least_error(found), percentile(found)):
        assert low == 0.0 and 4.5 <= high <= 5.0


def test_nothing_but_zeros_has_a_grid() -> None:
    found = histogram(np.zeros(10))
    grid = activation_grid(*least_error(found))
    assert float(grid.scale) > 0 and grid.rounded(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_what_is_no_number_is_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        histogram(np.array([1.0, np.nan]))
