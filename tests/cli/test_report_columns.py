"""Columns of reports as text: where they stand, whatever a cell says."""

from __future__ import annotations

from onnxprune.report.blocks import Column, Table
from onnxprune.report.render import WIDEST, plain

COLUMNS = (Column("stage"), Column("what"), Column("time", right=True))


def test_a_sentence_does_not_push_the_times_away() -> None:
    """Rows with nothing behind the sentence, and sentences longer than any column, stand beside the others."""
    reason, story = "why " * 20, "and then " * 20
    rows = (("traced", "7 groups", "10 ms"), ("", reason, ""), ("repaired", story, "2 s"), ("proven", "yes", "110 ms"))
    lines = plain((Table(COLUMNS, rows, bare=True),)).splitlines()
    assert len(story) > WIDEST
    assert lines[0].index("10 ms") + len("10 ms") == lines[3].index("110 ms") + len("110 ms") < 40
    assert lines[1].strip() == reason.strip() and lines[2].endswith("2 s") and story in lines[2]


def test_columns_are_as_wide_as_their_cells() -> None:
    lines = plain((Table(COLUMNS, (("a", "bc", "1"), ("defg", "h", "234"))),)).splitlines()
    assert lines == ["  stage  what  time", "  a      bc       1", "  defg   h      234"]
