"""Removals at the least error for a cost, against every combination there is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.choose.allocate.by_cost import BISECTIONS, MOST_COUNTS, ROUNDS, Curve, _thinned, by_cost

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


@st.composite
def convex_problems(draw: st.DrawFn) -> tuple[list[Curve], list[int], float]:
    """The same, of curves in which every unit costs more than the one before."""
    curves, prices, share = draw(problems())
    rising = [np.concatenate([[0.0], np.cumsum(np.sort(np.diff(c.errors)))]) for c in curves]
    return [Curve(c.name, e, np.arange(len(e))) for c, e in zip(curves, rising, strict=True)], prices, share


@given(convex_problems())
def test_of_convex_curves_the_error_is_the_least_but_for_one_unit(
    problem: tuple[list[Curve], list[int], float],
) -> None:
    curves, prices, share = problem
    target = share * whole(curves, prices, [0] * len(curves))
    found = by_cost(curves, lambda k: whole(curves, prices, list(k)), target)
    assert found is not None
    every = itertools.product(*(c.allowed.tolist() for c in curves))
    least = min(error(curves, k) for k in every if whole(curves, prices, k) <= target)
    unit = max(float(np.diff(c.errors).max()) for c in curves)
    assert error(curves, found) <= least + 1.001 * unit + 1e-3 * least


def made(*errors: list[float]) -> list[Curve]:
    return [Curve(str(k), np.array(e), np.arange(len(e))) for k, e in enumerate(errors)]


@pytest.mark.parametrize(
    ("curves", "prices", "gone", "best"),
    [
        # an error of 1 saves 2 in the first, an error of 0.9 saves 1 in the second
        (made([0, 1, 2.2], [0, 0.9, 1.9, 3.5]), [2, 1], 4, [2, 0]),
        # a price takes all or nothing; of what may come back, the last two of the second make up for most
        (made([0, 5, 5.5, 6], [0, 2.5, 5.5, 6]), [1, 1], 4, [3, 1]),
        # so does it here: the first makes up for 5 at a cost of 3, each of the others for 4 at a cost of 2
        (made([0, 7, 12], [0, 4], [0, 4]), [3, 2, 2], 6, [2, 0, 0]),
    ],
    ids=["units of unlike cost", "what makes up for most comes back", "per cost"],
)
def test_the_best_of_all_combinations(curves: list[Curve], prices: list[int], gone: int, best: list[int]) -> None:
    target = whole(curves, prices, [0] * len(curves)) - gone
    every = itertools.product(*(c.allowed.tolist() for c in curves))
    least = min((k for k in every if whole(curves, prices, k) <= target), key=lambda k: error(curves, k))
    assert list(least) == best
    assert by_cost(curves, lambda k: whole(curves, prices, list(k)), target) == best


def test_where_the_cost_goes_in_steps_whole_steps_leave_at_the_least_error() -> None:
    """Two units cost as much as one."""
    curves = made([0, 1, 2, 4, 8], [0, 0.5, 1.5, 6, 9])
    assert by_cost(curves, lambda k: float(sum(2 * -(-(4 - n) // 2) for n in k)), 4.0, stepped=True) == [2, 2]


def wide(size: int = 1000) -> Curve:
    return Curve("wide", (np.arange(size + 1) / size) ** 2, np.arange(size))


def test_of_many_removals_those_remain_that_leave_round_numbers() -> None:
    counts = _thinned(wide()).allowed
    assert len(counts) <= MOST_COUNTS + 2 and counts[0] == 0 and counts[-1] == 999
    assert ((1000 - counts[1:-1]) % 16 == 0).all() and len(counts) > MOST_COUNTS / 2
    assert _thinned(made([0.0, 1, 2])[0]).allowed.tolist() == [0, 1, 2]


def test_where_the_cost_goes_in_steps_it_is_measured_at_few_of_many_removals() -> None:
    asked = []

    def cost(counts: Sequence[int]) -> float:
        asked.append(tuple(counts))
        return float(2000 - sum(counts))

    found = by_cost([wide(), wide()], cost, 1000.0, stepped=True)
    assert found is not None and cost(found) <= 1000 and all((1000 - k) % 16 == 0 for k in found)
    assert len(asked) < ROUNDS * 2 * (MOST_COUNTS + BISECTIONS + 3)


def test_the_last_removal_is_among_the_few() -> None:
    """Without it the target would take all of the second, too."""
    curves = [wide(), *made([0.0, 10, 20, 30, 40])]
    assert by_cost(curves, lambda k: float(1004 - sum(k)), 5.0, stepped=True) == [999, 0]
