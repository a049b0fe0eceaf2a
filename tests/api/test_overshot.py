"""A target that is overshot by much is said so, with the reason; one that is met closely is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from onnxprune import shrink
from onnxprune.report import render
from onnxprune.report.shrink import report
from onnxprune.results import ShrinkResult
from tests.hostile.support import cnn, save

FAR = "is far less than"


def planned(folder: Path, **options: Any) -> ShrinkResult:
    return shrink(save(folder, cnn(64)), dry_run=True, **options)


def remarks(result: ShrinkResult) -> list[str]:
    return [note for note in result.notes if FAR in note]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"target": "params=80%", "multiple_of": 32},
            "50 % of the parameters left is far less than params=80% asks for: widths are multiples of 32",
        ),
        (
            {"target": "macs=95%", "device": "avx512"},
            "75 % of the MACs left is far less than macs=95% asks for: widths go in steps that gain time on this "
            "device (avx512); --multiple-of 1 comes closer",
        ),
    ],
)
def test_it_is_said_by_much_and_why(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    result = planned(tmp_path, **options)
    assert remarks(result) == [words]
    assert words in render.plain(report(result, dry_run=True))


@pytest.mark.parametrize(
    "options",
    [
        {"target": "params=80%", "multiple_of": 1},
        {"target": "macs=95%", "multiple_of": 1},
        {"target": "params=55%", "multiple_of": 32},
        {"target": "macs=80000"},
        {"ratio": 0.1, "multiple_of": 32},
    ],
)
def test_what_is_close_is_not_remarked(tmp_path: Path, options: dict[str, Any]) -> None:
    """Nor what was no target, or was met before."""
    assert remarks(planned(tmp_path, **options)) == []
