"""benchmarks/criteria.py: every criterion is compared, and what a person wrote about the table stays."""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from types import ModuleType

import pytest

from onnxprune.choose.criteria import family

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "criteria.md"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("criteria")


def test_the_page_has_every_criterion(benchmark: ModuleType) -> None:
    """If not: make criteria."""
    rows = re.findall(r"^\| ([\w-]+) \| (\w+) \|", PAGE.read_text(encoding="utf-8"), re.M)
    assert rows == [(name, family(name)) for name in benchmark.names()]
    assert {looks_at for _, looks_at in rows} == set(benchmark.FAMILIES) and rows[-1][0] == "random"


def test_the_mean_of_seeds_and_half_their_range(benchmark: ModuleType) -> None:
    assert benchmark.cell([{"value": 50.0}, {"value": 60.0}, {"value": 55.0}]) == "55.0 ± 5.0"
    assert benchmark.cell([{"value": 98.76}]) == "98.8"


def test_the_reading_is_kept(benchmark: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    assert benchmark.reading(page) == ""
    page.write_text("# Table\n\n| 1 |\n\n## Reading\n\nThis was written by hand.\n")
    assert benchmark.reading(page) == "## Reading\n\nThis was written by hand.\n"


def test_samples_and_a_cut_of_the_example(benchmark: ModuleType, tmp_path: Path) -> None:
    model, data = benchmark.sources("digits", benchmark.Evaluation(tmp_path), 50, tmp_path)
    out, left = benchmark.measure(model, data, "l1", "none", 0)
    assert 0.5 < left <= 0.7
    assert benchmark.score_digits(model)["value"] > benchmark.score_digits(out)["value"] > 10
