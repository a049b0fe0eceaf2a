"""What the allocators promise, as laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.choose.allocate import (
    SCOPES,
    GroupScores,
    Mask,
    global_,
    keep_mask,
    local,
    parse_min_keep,
    scope,
    widths,
)
from onnxprune.errors import UsageError

RATIOS = st.floats(0.0, 0.999)


@st.composite
def groups(draw: st.DrawFn, plain: bool = False) -> GroupScores:
    n_blocks = 1 if plain else draw(st.sampled_from([1, 1, 2, 3]))
    n = n_blocks * draw(st.integers(1, 14))
    scores = np.array(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n)), np.float64)
    blocks = np.array(draw(st.permutations([i % n_blocks for i in range(n)])), np.int64) if n_blocks > 1 else None
    return GroupScores(
        name="g",
        scores=scores,
        min_keep=draw(st.integers(0, n + 1)),
        multiple_of=1 if plain else draw(st.sampled_from([1, 1, 2, 4, 8])),
        blocks=blocks,
        weight=draw(st.sampled_from([1.0, 0.5, 100.0])),
    )


def check(group: GroupScores, mask: Mask) -> None:
    """Every constraint of one group."""
    kept = int(mask.sum())
    assert mask.shape == group.scores.shape
    assert mask.dtype == np.bool_
    if kept == group.size:
        return
    assert kept >= group.min_keep
    assert kept % group.multiple_of == 0
    for block in [None] if group.blocks is None else np.unique(group.blocks):
        inside = np.ones(group.size, bool) if block is None else group.blocks == block
        assert mask[inside].sum() * group.n_blocks == kept
        for i in np.flatnonzero(inside & ~mask):  # what left is not better than what stayed; ties keep the lowest
            for j in np.flatnonzero(inside & mask):
                assert (group.scores[i], -i) < (group.scores[j], -j)


@pytest.mark.parametrize("name", SCOPES)
@given(several=st.lists(groups(), max_size=4), ratio=RATIOS)
def test_constraints_hold(name: str, several: list[GroupScores], ratio: float) -> None:
    masks = SCOPES[name](several, ratio)
    assert len(masks) == len(several)
    for group, mask in zip(several, masks, strict=True):
        check(group, mask)


@pytest.mark.parametrize("name", SCOPES)
@given(several=st.lists(groups(), max_size=4))
def test_nothing_to_remove_removes_nothing(name: str, several: list[GroupScores]) -> None:
    assert all(mask.all() for mask in SCOPES[name](several, 0.0))


@pytest.mark.parametrize("name", SCOPES)
@given(several=st.lists(groups(plain=True), max_size=4), first=RATIOS, second=RATIOS)
def test_a_larger_ratio_keeps_a_subset(name: str, several: list[GroupScores], first: float, second: float) -> None:
    small, large = sorted((first, second))
    for wide, narrow in zip(SCOPES[name](several, small), SCOPES[name](several, large), strict=True):
        assert not (narrow & ~wide).any()


@given(group=groups(), first=RATIOS, second=RATIOS)
def test_locally_a_larger_ratio_never_keeps_more(group: GroupScores, first: float, second: float) -> None:
    small, large = sorted((first, second))
    (wide,), (narrow,) = local([group], small), local([group], large)
    assert not (narrow & ~wide).any()


@given(several=st.lists(groups(plain=True), min_size=1, max_size=4), ratio=RATIOS)
def test_globally_the_count_is_exact_as_far_as_the_floors_allow(several: list[GroupScores], ratio: float) -> None:
    removed = sum(int((~mask).sum()) for mask in global_(several, ratio))
    most = sum(group.size - widths(group)[-1] for group in several)
    assert removed == min(most, math.floor(ratio * sum(group.size for group in several) + 1e-9))


@given(several=st.lists(groups(), min_size=1, max_size=4), ratio=RATIOS)
def test_globally_the_count_is_near_whatever_the_constraints(several: list[GroupScores], ratio: float) -> None:
    removed = sum(int((~mask).sum()) for mask in global_(several, ratio))
    target = math.floor(ratio * sum(group.size for group in several) + 1e-9)
    most = sum(group.size - widths(group)[-1] for group in several)
    largest_step = max(math.lcm(group.multiple_of, group.n_blocks) for group in several)
    assert removed <= most
    assert abs(removed - min(target, most)) <= largest_step


@pytest.mark.parametrize(
    ("n", "ratio", "multiple_of", "min_keep", "kept"),
    [
        (100, 0.29, 1, 1, 71),  # 0.29 * 100 is 28.999999999999996
        (10, 0.3, 1, 1, 7),
        (10, 0.99, 1, 1, 1),
        (10, 0.99, 1, 4, 4),
        (10, 0.5, 1, 20, 10),
        (64, 0.3, 8, 1, 48),  # 45 is nearer to 48
        (64, 0.33, 8, 1, 40),  # 43 is nearer to 40
        (64, 0.3, 8, 50, 56),  # at least 50 is at least 56
        (64, 0.95, 8, 1, 8),  # at least one multiple
        (6, 0.9, 8, 1, 6),  # narrower than a multiple: whole
        (8, 0.9, 8, 1, 8),
        (20, 0.0, 8, 1, 20),
        (20, 0.05, 8, 1, 16),
        (20, 0.5, 8, 1, 8),  # 10
        (20, 0.4, 8, 1, 16),  # 12: half goes up
        (0, 0.5, 1, 1, 0),
        (1, 0.9, 1, 0, 1),
    ],
)
def test_local_numbers(n: int, ratio: float, multiple_of: int, min_keep: int, kept: int) -> None:
    group = GroupScores("g", np.arange(n, dtype=np.float64), min_keep, multiple_of)
    (mask,) = local([group], ratio)
    assert mask.sum() == kept
    assert mask[n - kept :].all()


def test_of_equal_scores_the_lowest_index_stays() -> None:
    (mask,) = local([GroupScores("g", np.zeros(6))], 0.5)
    assert mask.tolist() == [True] * 3 + [False] * 3


def test_blocks_lose_the_same_number_wherever_the_low_scores_are() -> None:
    scores = np.array([0.0, 1.0, 2.0, 3.0, 10.0, 11.0, 12.0, 13.0])
    group = GroupScores("g", scores, blocks=np.repeat(np.arange(2), 4))
    for masks in (local([group], 0.5), global_([group], 0.5)):
        assert masks[0].tolist() == [False, False, True, True] * 2


def test_blocks_and_multiples_apply_together() -> None:
    group = GroupScores("g", np.arange(48.0), multiple_of=8, blocks=np.arange(48) % 3)
    assert widths(group) == [48, 24]
    assert local([group], 0.4)[0].sum() == 24  # 29 kept: 24 divides over 3 blocks and by 8


def test_global_takes_the_least_wherever_they_are_and_stops_at_the_floor() -> None:
    weak = GroupScores("weak", np.array([1.0, 2.0, 3.0, 4.0]), min_keep=2)
    strong = GroupScores("strong", np.array([5.0, 6.0, 7.0, 8.0]))
    masks = global_([weak, strong], 0.25, normalise="none")
    assert [mask.tolist() for mask in masks] == [[False, False, True, True], [True] * 4]
    masks = global_([weak, strong], 0.5, normalise="none")
    assert [mask.tolist() for mask in masks] == [[False, False, True, True], [False, False, True, True]]


def test_global_normalisation_makes_layers_of_different_size_compare() -> None:
    small = GroupScores("small", np.array([0.01, 0.02, 0.03, 0.04]))
    large = GroupScores("large", np.array([100.0, 200.0, 300.0, 400.0]))
    for how in ("mean", "max", "sum", "lamp"):
        assert [int(mask.sum()) for mask in global_([small, large], 0.5, normalise=how)] == [2, 2]
    assert [int(mask.sum()) for mask in global_([small, large], 0.5, normalise="none")] == [1, 3]


def test_global_prefers_what_saves_more() -> None:
    cheap = GroupScores("cheap", np.array([1.0, 1.0]), weight=1.0)
    dear = GroupScores("dear", np.array([1.0, 1.0]), weight=10.0)
    assert [int(mask.sum()) for mask in global_([cheap, dear], 0.25)] == [2, 1]
    assert [int(mask.sum()) for mask in global_([dear, cheap], 0.25)] == [1, 2]


def test_global_ties_spread_over_the_groups() -> None:
    several = [GroupScores(str(n), np.ones(n)) for n in (4, 8, 4)]
    assert [int(mask.sum()) for mask in global_(several, 0.5)] == [2, 4, 2]


def test_global_fills_what_a_large_step_leaves() -> None:
    coarse = GroupScores("coarse", np.zeros(16), multiple_of=8)
    fine = GroupScores("fine", np.ones(16))
    assert [int(mask.sum()) for mask in global_([coarse, fine], 0.375, normalise="none")] == [8, 12]
    assert [int(mask.sum()) for mask in global_([coarse, fine], 0.125, normalise="none")] == [16, 12]


def test_global_oversteps_only_when_that_is_closer() -> None:
    group = GroupScores("g", np.arange(32.0), multiple_of=8)
    assert global_([group], 5 / 32)[0].sum() == 24
    assert global_([group], 4 / 32)[0].sum() == 32


def test_global_costs_do_not_drown_in_large_scores() -> None:
    huge = GroupScores("huge", np.array([1e-3, 1e20, 1e20, 1e20]))
    plain = GroupScores("plain", np.array([1e-2, 1.0, 1.0, 1.0]))
    masks = global_([plain, huge], 1 / 8, normalise="none")
    assert [int(mask.sum()) for mask in masks] == [4, 3]


@pytest.mark.parametrize("name", SCOPES)
@pytest.mark.parametrize("ratio", [1.0, -0.1, 30.0, math.nan, math.inf])
def test_a_ratio_that_is_none_is_refused(name: str, ratio: float) -> None:
    with pytest.raises(UsageError, match="share of units to remove") as caught:
        SCOPES[name]([], ratio)
    assert "give 0.3" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "n", "kept"),
    [
        ("8", 64, 8),
        ("0.25", 64, 16),
        ("25%", 64, 16),
        ("0.25", 10, 3),
        ("0.1", 10, 1),
        ("0.3", 10, 3),
        ("100", 64, 64),
        ("1", 64, 1),
        ("1.0", 64, 64),
        ("0", 64, 1),
        ("0.0", 64, 1),
        (8, 64, 8),
        (0.5, 64, 32),
        (" 8 ", 64, 8),
        ("8", 0, 0),
    ],
)
def test_min_keep(text: str | float, n: int, kept: int) -> None:
    assert parse_min_keep(text, n) == kept


@pytest.mark.parametrize("text", ["-1", "-0.5", "1.5", "", "eight", "nan", "inf", "150%", "%", 2.5, -3])
def test_min_keep_that_is_none_is_refused(text: str | float) -> None:
    with pytest.raises(UsageError, match="the least to keep"):
        parse_min_keep(text, 64)


def test_groups_are_checked() -> None:
    with pytest.raises(ValueError, match="'g' must be one finite number"):
        GroupScores("g", np.array([1.0, np.nan]))
    with pytest.raises(UsageError, match="multiples of 1 or more"):
        GroupScores("g", np.ones(2), multiple_of=0)
    with pytest.raises(ValueError, match="weight of group 'g'"):
        GroupScores("g", np.ones(2), weight=0.0)
    with pytest.raises(ValueError, match="not of equal size"):
        GroupScores("g", np.ones(3), blocks=np.array([0, 0, 1]))
    with pytest.raises(ValueError, match="blocks for"):
        GroupScores("g", np.ones(3), blocks=np.array([0, 1]))


def test_keep_mask_of_a_number() -> None:
    assert keep_mask(GroupScores("g", np.array([3.0, 1.0, 2.0])), 1).tolist() == [True, False, False]


def test_scopes_by_name() -> None:
    assert scope("local") is local
    assert scope("global") is global_
    with pytest.raises(UsageError, match="unknown scope 'globl'") as caught:
        scope("globl")
    assert "known: local, global" in str(caught.value)
