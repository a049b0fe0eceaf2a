"""Intervals hold what they promise, and verdicts follow from them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from onnxprune.benching.results import Estimate
from onnxprune.benching.statistics import (
    ordered_interval,
    outliers,
    paired_ratio,
    quantile,
    resolution,
    spread,
    time_quantile,
    unpaired_ratio,
    verdict,
    widening,
)

BLOCKS, ROUNDS = 12, 20


def _blocked(rng: np.random.Generator, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithms of ratios with a part that all rounds of a block share, and now and then a large one."""
    blocks = np.repeat(np.arange(BLOCKS), ROUNDS)
    count = BLOCKS * ROUNDS
    own = rng.standard_normal(count) * 0.03 + (rng.random(count) < 0.1) * rng.standard_normal(count) * 2
    return np.exp(shift + own + (rng.standard_normal(BLOCKS) * 0.02)[blocks]), blocks


@pytest.mark.parametrize("truth", [0.0, 0.1])
def test_intervals_hold_the_truth_although_rounds_hang_together(truth: float) -> None:
    rng, inside, naive = np.random.default_rng(1), 0, 0
    for seed in range(100):
        ratios, blocks = _blocked(rng, truth)
        found = paired_ratio(ratios, np.ones_like(ratios), blocks, seed)
        alone = paired_ratio(ratios, np.ones_like(ratios), np.arange(len(ratios)), seed)
        inside += found.low <= math.exp(truth) <= found.high
        naive += alone.low <= math.exp(truth) <= alone.high
    assert inside >= 0.9 * 100
    assert naive < 0.8 * 100, "without blocks the same data would have given false verdicts"


def test_a_constant_ratio_is_found_exactly() -> None:
    rng = np.random.default_rng(0)
    reference = rng.lognormal(0, 1, 60)
    found = paired_ratio(1.1 * reference, reference, np.arange(60) // 5)
    assert found == Estimate(pytest.approx(1.1), pytest.approx(1.1), pytest.approx(1.1))
    assert verdict(found) == "slower"
    assert verdict(paired_ratio(reference, 1.1 * reference, np.arange(60) // 5)) == "faster"


def test_quantiles() -> None:
    values = np.arange(1.0, 101.0)
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(values)
    found = quantile(shuffled, np.arange(100), 0.95)
    assert found.value == 95 and 88 < found.low <= 95 <= found.high <= 102
    assert quantile(shuffled, np.zeros(100, int), 0.5).value == 50, "a single block: every round is one"
    assert quantile(np.array([3.0]), np.zeros(1, int), 0.5) == Estimate(3.0, -math.inf, math.inf)
    assert quantile(shuffled, np.arange(100) // 10, 0.5, 7) == quantile(shuffled, np.arange(100) // 10, 0.5, 7)
    with pytest.raises(ValueError, match="0 values"):
        quantile(np.zeros(0), np.zeros(0, int), 0.5)


def test_intervals_of_times_stay_positive() -> None:
    """Two blocks that differ a thousandfold: on the times themselves the widened interval would begin below 0."""
    times, blocks = np.array([1.0] * 5 + [1000.0] * 5), np.arange(10) // 5
    assert quantile(times, blocks, 0.9).low < 0 < time_quantile(times, blocks, 0.9).low
    found = time_quantile(np.array([3.0]), np.zeros(1, int), 0.5)
    assert (found.value, found.low, found.high) == (pytest.approx(3), 0.0, math.inf)


def test_few_blocks_widen_the_interval() -> None:
    factors = [widening(count) for count in (2, 3, 6, 12, 1000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[-1] == pytest.approx(1, abs=0.01) and widening(1) == math.inf


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.99, 1.01, "same"),
        (0.7, 1.5, "undecided"),
        (1.001, 1.019, "same"),
        (0.985, 0.999, "same"),
        (1.001, 1.03, "same"),
        (1.001, 1.06, "slower"),
        (1.09, 1.11, "slower"),
        (0.9, 0.95, "faster"),
        (0.9, 0.999, "faster"),
        (0.98, 0.999, "same"),
    ],
)
def test_verdicts(low: float, high: float, expected: str) -> None:
    ratio = Estimate(math.sqrt(low * high), low, high)
    assert verdict(ratio) == expected
    swapped = {"faster": "slower", "slower": "faster", "same": "same", "undecided": "undecided"}[expected]
    assert verdict(Estimate(1 / ratio.value, 1 / high, 1 / low)) == swapped


def test_resolution() -> None:
    assert resolution(Estimate(1, 0.999, 1.001)) == 0.02
    assert resolution(Estimate(1, 1 / 1.2, 1.2)) == pytest.approx(0.2)
    assert resolution(Estimate(1, 0, math.inf)) == math.inf


def test_unpaired_ratios_add_both_uncertainties() -> None:
    one = Estimate(2.0, 2.0 / 1.1, 2.0 * 1.1)
    found = unpaired_ratio(one, Estimate(1.0, 1.0, 1.0))
    assert (found.value, found.low, found.high) == pytest.approx((2.0, 2.0 / 1.1, 2.2))
    assert unpaired_ratio(Estimate(2.0, 0.0, math.inf), one) == Estimate(1.0, 0.0, math.inf), "one round: unknown"
    both = unpaired_ratio(one, Estimate(1.0, 1 / 1.1, 1.1))
    assert both.low < found.low and both.high > found.high
    assert both.high == pytest.approx(2 * math.exp(math.sqrt(2) * math.log(1.1)))


def test_outliers_are_counted_and_the_slowest_is_named() -> None:
    times = np.random.default_rng(0).lognormal(0, 0.01, (50, 4))
    times[17, 2], times[30, 0] = 5.0, 1.045
    found = outliers(times)
    assert (found.slowest_s, found.slowest_round) == (5.0, 18)
    assert found.severe == 1 and found.mild >= 1


def test_order_statistics() -> None:
    assert ordered_interval(np.array([3.0, 1.0, 2.0])) == Estimate(2.0, 1.0, 3.0)
    rng, inside = np.random.default_rng(0), 0
    for _ in range(400):
        found = ordered_interval(rng.exponential(1, 20))
        inside += found.low <= math.log(2) <= found.high
    assert 0.93 * 400 <= inside < 400


def test_spread() -> None:
    found = spread([3.0, 1.0, 2.0])
    assert (found.value, found.low, found.high, found.count) == (2.0, 1.0, 3.0, 3)
    with pytest.raises(ValueError, match="no values"):
        spread([])
