"""Rows to units, and groups that compare."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.choose.score import FloatArray, Normalise, aggregate, normalise
from onnxprune.errors import UsageError

SCORES = st.lists(st.integers(0, 20), min_size=1, max_size=12).map(lambda values: np.array(values, np.float64))


def member(units: list[int], scores: list[float]) -> tuple[np.ndarray, FloatArray]:
    return np.array(units, np.int64), np.array(scores, np.float64)


def test_rows_of_a_unit_are_averaged_before_members_are_combined() -> None:
    members = [member([0, 0, 1, -1], [1.0, 3.0, 5.0, 99.0]), member([1, 0], [7.0, 6.0])]
    assert aggregate(2, members).tolist() == [4.0, 6.0]
    assert aggregate(2, members, "sum").tolist() == [8.0, 12.0]
    assert aggregate(2, members, "max").tolist() == [6.0, 7.0]


@pytest.mark.parametrize("how", ["mean", "sum", "max"])
def test_a_unit_without_rows_is_neutral(how: str) -> None:
    assert aggregate(3, [member([0, 2], [2.0, 4.0])], how).tolist() == [2.0, 3.0, 4.0]  # type: ignore[arg-type]
    assert aggregate(2, [], how).tolist() == [0.0, 0.0]  # type: ignore[arg-type]


def test_a_member_that_misses_a_unit_does_not_lower_its_mean() -> None:
    assert aggregate(2, [member([0, 1], [4.0, 4.0]), member([0], [8.0])]).tolist() == [6.0, 4.0]


def test_negative_scores_keep_their_maximum() -> None:
    assert aggregate(1, [member([0], [-4.0]), member([0], [-2.0])], "max").tolist() == [-2.0]


def test_inputs_are_checked() -> None:
    with pytest.raises(ValueError, match="unit index 5 in a group of 2"):
        aggregate(2, [member([0, 5], [1.0, 1.0])])
    with pytest.raises(ValueError, match="unit indices for"):
        aggregate(2, [member([0], [1.0, 1.0])])
    with pytest.raises(UsageError, match="unknown way to combine scores 'median'") as caught:
        aggregate(2, [], "median")  # type: ignore[arg-type]
    assert "known: mean, sum, max" in str(caught.value)
    with pytest.raises(UsageError, match="unknown normalisation 'l7'"):
        normalise(np.ones(2), "l7")  # type: ignore[arg-type]


def test_normalisations() -> None:
    scores = np.array([1.0, 2.0, 5.0])
    np.testing.assert_allclose(normalise(scores), [0.375, 0.75, 1.875])
    np.testing.assert_allclose(normalise(scores, "max"), [0.2, 0.4, 1.0])
    np.testing.assert_allclose(normalise(scores, "sum"), [0.125, 0.25, 0.625])
    np.testing.assert_allclose(normalise(scores, "none"), scores)
    np.testing.assert_allclose(normalise(scores, "lamp"), [1 / 30, 4 / 29, 1.0])


def test_lamp_gives_equal_scores_equal_results() -> None:
    np.testing.assert_allclose(normalise(np.array([2.0, 1.0, 2.0]), "lamp"), [0.5, 1 / 9, 0.5])


@given(SCORES)
def test_lamp_matches_its_definition(scores: FloatArray) -> None:
    expected = [s * s / max(sum(t * t for t in scores if t >= s), 1e-300) for s in scores]
    np.testing.assert_allclose(normalise(scores, "lamp"), expected, rtol=1e-12)


@pytest.mark.parametrize("how", get_args(Normalise))
@given(scores=SCORES)
def test_order_and_input_survive_normalisation(how: Normalise, scores: FloatArray) -> None:
    before = scores.copy()
    result = normalise(scores, how)
    np.testing.assert_array_equal(scores, before)
    for i in range(len(scores)):
        for j in range(len(scores)):
            assert (result[i] == result[j]) if scores[i] == scores[j] else True
            assert result[i] <= result[j] if scores[i] < scores[j] else True


@pytest.mark.parametrize("how", ["mean", "max", "sum", "lamp"])
@given(scores=SCORES, factor=st.sampled_from([1e-200, 0.25, 1e150]))
def test_scale_goes_away(how: Normalise, scores: FloatArray, factor: float) -> None:
    np.testing.assert_allclose(normalise(scores * factor, how), normalise(scores, how), rtol=1e-9)


@pytest.mark.parametrize("how", get_args(Normalise))
def test_zero_and_empty_scores_stay(how: Normalise) -> None:
    assert normalise(np.zeros(3), how).tolist() == [0.0] * 3
    assert normalise(np.zeros(0), how).tolist() == []
