"""Bisection for the strongest that stays within a bound, whatever the losses are."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.errors import UsageError
from onnxprune.measure.search import Search, strongest

BOUNDS = st.floats(0, 1)


@given(st.randoms(use_true_random=False), BOUNDS, st.integers(1, 12))
def test_any_losses_at_all(random: object, bound: float, steps: int) -> None:
    """The answer was evaluated, is within the bound, and no stronger one that was evaluated is."""
    seen: dict[float, float] = {}

    def evaluate(strength: float) -> float:
        assert 0 < strength <= 1 and strength not in seen
        drop: float = random.choice([math.nan, math.inf, -1.0, random.random()])  # type: ignore[attr-defined]
        seen[strength] = drop
        return drop

    found = strongest(evaluate, bound, steps)
    assert [point.strength for point in found.points] == list(seen) and 1 <= len(seen) <= steps
    good = [strength for strength, drop in seen.items() if drop <= bound]
    if found.best is None:
        assert not good
    else:
        assert found.best.drop <= bound and found.best.strength == max(good)
        assert seen[found.best.strength] == found.best.drop
    assert found.mildest.strength == min(seen)


@given(st.floats(0, 1), st.integers(1, 20))
def test_losses_that_grow_are_found_within_the_resolution(edge: float, steps: int) -> None:
    found = strongest(lambda strength: 0.0 if strength <= edge else 1.0, 0.5, steps)
    reached = 0.0 if found.best is None else found.best.strength
    assert reached <= edge and (edge - reached <= 2.0 ** -(steps - 1) or reached == 1.0)
    if edge >= 2.0 ** -(steps - 1):
        assert found.best is not None


def test_everything_may_go() -> None:
    found = strongest(lambda strength: 0.0, 0.0)
    assert isinstance(found, Search) and [p.strength for p in found.points] == [1.0] and found.best == found.points[0]


@pytest.mark.parametrize("bound", [-0.1, math.nan])
def test_bounds_that_cannot_be_meant(bound: float) -> None:
    with pytest.raises(UsageError, match="max_drop= must be at least 0"):
        strongest(lambda strength: 0.0, bound)


def test_steps_that_cannot_be_meant() -> None:
    with pytest.raises(UsageError, match="0 steps"):
        strongest(lambda strength: 0.0, 0.1, 0)
