"""Removals at the least error for a cost, against every combination there is."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.allocate.by_cost import Curve, by_cost

UNIT = st.floats(0.001, 1.0)


@st.composite
def problems(draw: st.DrawFn) -> tuple[list[Curve], list[int], float]:
    """Curves, what a unit of each costs, and the share of the whole cost that may stay."""
    curves = []
    for name in range(draw(st.integers(1, 3))):
        steps = draw(st.lists(UNIT, min_size=2, max_size=5))
        wide = draw(st.booleans())
        counts = np.arange(0, len(steps) + 1, 2 if wide else 1)
        curves.append(Curve(str(name), np.concatenate([[0.0], np.cumsum(steps)]), counts))
    prices = draw(st.lists(st.integers(1, 20), min_size=len(curves), max_size=len(curves)))
    return curves, prices, draw(st.floats(0.3, 1.0))


def whole(curves: list[Curve], prices: list[int], counts: tuple[int, ...] | list[int]) -> float:
    return float(sum(p * (len(c.errors) - 1 - k) for c, p, k in zip(curves, prices, counts, strict=True)))


def error(curves: list[Curve], counts: tuple[int, ...] | list[int]) -> float:
    return sum(float(c.errors[k]) for c, k in zip(curves, counts, strict=True))


@given(problems())
def test_it_meets_the_target_and_nothing_can_be_given_back(problem: tuple[list[Curve], list[int], float]) -> None:
    curves, prices, share = problem
    target = share * whole(curves, prices, [0] * len(curves))
    found = by_cost(curves, lambda k: whole(curves, prices, list(k)), target)
    every = list(itertools.product(*(c.allowed.tolist() for c in curves)))
    fitting = [k for k in every if whole(curves, prices, k) <= target]
    if not fitting:
        assert found is None
        return
    assert found is not None and tuple(found) in fitting
    for g, curve in enumerate(curves):
        for count in curve.allowed[curve.allowed < found[g]].tolist():
            wider = [*found[:g], count, *found[g + 1 :]]
            assert whole(curves, prices, wider) > target, "it would have fitted, at less error"


def test_inside_the_hull_of_a_curve() -> None:
    """The hull of the first curve is one edge: a price takes all of it or nothing, and the best is between."""
    humped = Curve("humped", np.array([0.0, 0.9, 0.95, 1.0]), np.arange(4))
    dear = Curve("dear", np.array([0.0, 2.0, 4.0, 6.0]), np.arange(4))
    cheapest = min(
        (k for k in itertools.product(range(4), range(4)) if sum(k) >= 2), key=lambda k: error([humped, dear], k)
    )
    found = by_cost([humped, dear], lambda k: 6.0 - sum(k), 4.0)
    assert cheapest == (2, 0) and found == [2, 0]
