"""Blocks of odd sizes, what leaves first, and patterns as text."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.errors import UsageError
from onnxprune.sparse.patterns import UNSTRUCTURED, Pattern, parse_pattern
from onnxprune.sparsifying.masks.layout import Layout, kept
from tests.sparsifying.masks.problems import PATTERNS, blocks, fulfils

LAYOUTS = st.builds(
    lambda pattern, n, channels, taps: Layout(parse_pattern(pattern), n, channels, taps),
    st.sampled_from(PATTERNS),
    st.integers(1, 9),
    st.integers(1, 11),
    st.sampled_from([1, 2, 9]),
)


@given(layout=LAYOUTS, share=st.floats(0, 0.99), by_row=st.booleans(), seed=st.integers(0, 99))
@settings(max_examples=150, deadline=None)
def test_patterns_are_fulfilled_and_the_share_is_reached(layout: Layout, share: float, by_row: bool, seed: int) -> None:
    scores = np.random.default_rng(seed).random((layout.n, layout.k))
    allowed = np.ones(scores.shape, bool)
    if layout.pattern.of:
        share = layout.pattern.share or 0.0
    keep = kept(layout, scores, share, allowed, by_row=by_row)
    assert fulfils(layout, keep)
    if layout.pattern.of:
        for rows, columns in blocks(layout):
            for row in range(rows.start, rows.stop):
                stays = keep[row, columns]
                assert stays.sum() == -(-len(columns) * layout.pattern.kept // layout.pattern.of)
                assert scores[row, columns][stays].min() >= scores[row, columns][~stays].max(initial=0.0)
        return
    units = [slice(a, a + layout.pattern.rows) for a in layout.row_starts] if by_row else [slice(0, layout.n)]
    for unit in units:
        assert abs((~keep[unit]).sum() - share * keep[unit].size) <= layout.pattern.size / 2 + 1e-9
        mine = [(r, c) for r, c in blocks(layout) if unit.start <= r.start < unit.stop]
        means = np.array([scores[r][:, c].mean() for r, c in mine])
        stays = np.array([keep[r][:, c].all() for r, c in mine])
        assert means[stays].min(initial=np.inf) >= means[~stays].max(initial=0.0)


@given(layout=LAYOUTS, share=st.floats(0, 0.9), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_is_not_allowed_is_gone_and_counts(layout: Layout, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, allowed = rng.random((layout.n, layout.k)), rng.random((layout.n, layout.k)) < 0.5
    keep = kept(layout, scores, share, allowed)
    assert not (keep & ~allowed).any()
    if layout.pattern == UNSTRUCTURED:
        gone = max(share * keep.size, (~allowed).sum())
        assert abs((~keep).sum() - gone) <= 0.5 + 1e-9


def test_of_equal_scores_the_last_leave_first() -> None:
    one = np.ones((2, 4))
    keep = kept(Layout(UNSTRUCTURED, 2, 4), one, 0.5, one > 0)
    assert keep.tolist() == [[True] * 4, [False] * 4]
    keep = kept(Layout(parse_pattern("2:4"), 2, 4), one, 0.5, one > 0)
    assert keep.tolist() == [[True, True, False, False]] * 2


def test_columns_go_tap_by_tap() -> None:
    layout = Layout(parse_pattern("1x4"), 1, 6, 2)
    assert layout.order.tolist() == [0, 2, 4, 6, 8, 10, 1, 3, 5, 7, 9, 11], "features are channel by channel"
    assert layout.column_counts.tolist() == [4, 2, 4, 2]
    assert layout.part(6, 12).column_counts.tolist() == [4, 2]


def test_patterns_as_text() -> None:
    assert parse_pattern("2:4") == Pattern(1, 1, 2, 4) != UNSTRUCTURED
    assert [str(parse_pattern(text)) for text in PATTERNS] == PATTERNS
    assert parse_pattern("1:4").share == 0.75 and parse_pattern("4x1").share is None
    for wrong in ("4:2", "2:2", "0:4", "2:", "x", "4x", "2:4x1", "100x1"):
        with pytest.raises(UsageError):
            parse_pattern(wrong)
