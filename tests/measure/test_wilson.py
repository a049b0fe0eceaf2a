"""The interval of a share."""

from __future__ import annotations

import math

import pytest

from onnxprune.measure.wilson import Z_95, wilson


@pytest.mark.parametrize(("hits", "count"), [(0, 1), (1, 1), (0, 20), (20, 20), (3, 10), (239, 256), (1, 10_000)])
def test_the_bounds_are_where_the_score_test_turns(hits: int, count: int) -> None:
    """|share - p| = z sqrt(p (1 - p) / n) at both bounds; the share lies between them."""
    share = hits / count
    low, high = wilson(share, count)
    assert 0 <= low <= share <= high <= 1 and low < high
    for bound in (low, high):
        if 0 < bound < 1:
            assert abs(share - bound) == pytest.approx(Z_95 * math.sqrt(bound * (1 - bound) / count), rel=1e-9)


def test_known_values() -> None:
    assert wilson(0.0, 10) == pytest.approx((0.0, 0.27753279), abs=1e-7)  # statsmodels, proportion_confint(wilson)
    assert wilson(0.5, 10) == pytest.approx((0.23659309, 0.76340691), abs=1e-7)
    for share, count in ((1.1, 3), (-0.1, 3), (math.nan, 3), (0.5, 0)):
        with pytest.raises(ValueError, match="a share of"):
            wilson(share, count)
