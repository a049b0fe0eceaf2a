"""benchmarks/equal_time_picture.py: the picture shows what was measured, and the same bytes for the same results."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("equal_time_picture")


@pytest.fixture
def results(tmp_path: Path) -> Path:
    def keep(name: str, value: float, macs: float, faster: tuple[float, float, float]) -> None:
        row = {"metric": "top1_percent", "value": value, "macs_left": macs, "faster": faster}
        (tmp_path / f"{name}.json").write_text(json.dumps(row))

    keep("cifar10_resnet20-macs-50", 86.0, 0.49, (2.0, 1.6, 2.5))
    keep("cifar10_resnet20-original", 91.0, 1.0, (1.0, 1.0, 1.0))
    keep("cifar10_resnet20-macs-50-free", 88.0, 0.5, (0.9, 0.9, 0.9))
    keep("kws_dscnn-macs-50", 80.0, 0.5, (1.0, 1.0, 1.0))
    return tmp_path


def test_default_widths_from_the_original_on(benchmark: ModuleType, results: Path) -> None:
    """Models without an original are left out, and so are results with free widths."""
    found = benchmark.read(results)
    assert list(found) == ["cifar10_resnet20"]
    unit, points = found["cifar10_resnet20"]
    assert unit == "top-1 %" and [p.target for p in points] == ["original", "macs-50"]
    assert (points[1].time, points[1].low, points[1].high) == (0.5, 0.4, 0.625)


def test_the_same_results_give_the_same_bytes(benchmark: ModuleType, results: Path) -> None:
    first, second = (benchmark.drawn(benchmark.read(results)) for _ in range(2))
    assert first == second and "49% of MACs" in first and "ResNet-20, CIFAR-10" in first


def test_the_picture_of_the_pages_names_models_that_are_known(benchmark: ModuleType) -> None:
    picture = (ROOT / "docs" / "equal-time.svg").read_text(encoding="utf-8")
    assert sum(f">{title}<" in picture for title in benchmark.TITLES.values()) >= 2
    assert picture.count(">original<") == sum(f">{title}<" in picture for title in benchmark.TITLES.values())
