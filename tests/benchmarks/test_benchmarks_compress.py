"""benchmarks/compress.py: the line of rivals, and what is said beside it."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_a_line_says_nothing_outside_of_its_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    line = importlib.import_module("compress_line")
    points = [(0.5, 90.0), (0.25, 70.0)]
    assert line.at(points, 0.375) == 80.0 and line.at(points, 0.5) == 90.0
    assert line.at(points, 0.2) is None and line.at(points, 0.6) is None and line.at(points[:1], 0.5) is None


def test_a_row_says_what_the_line_has_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    compress = importlib.import_module("compress")

    def row(speed: float, score: float) -> dict[str, object]:
        found = [{"metric": "top1_percent", "value": score}]
        return {"faster": [speed, speed, speed], "size": 0.25, "scores": found}

    beside = [row(2.0, 90.0), row(4.0, 70.0), {"error": "no such kernel"}]
    taken = {**row(1 / 0.375, 85.0), "levers": "blocks", "minutes": 1.0}
    assert compress.line("m", "38%", taken, beside)[5:7] == ["85.00 top-1 %", "80.00"]
    assert compress.line("m", "10%", {**taken, "faster": [10.0] * 3}, beside)[6] == ""
    assert compress.line("m", "plain", beside[2])[5] == "no such kernel"
