"""benchmarks/quantize.py: what is said of what was measured, the rivals' files, and the whole on the example model."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.benchmarks.test_benchmarks_accuracy import EVALUATE, run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def evaluation(tmp_path: Path) -> Path:
    (tmp_path / "evaluate.py").write_text(EVALUATE.format(models=str(ROOT / "models")))
    return tmp_path


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("quantize_page")


@pytest.fixture
def stock(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("quantize_stock")


def scored(value: float, metric: str = "top1_percent", n: int = 100) -> dict[str, Any]:
    return {"metric": metric, "value": value, "n": n}


def made(page: ModuleType, ours: float, theirs: dict[str, float], beside: dict[str, float]) -> Any:
    """A model of which `theirs` worked, the other ways failed."""
    rows = {way: {"samples": 8, "error": "too many bins"} for way in page.LABELS}
    rows |= {way: {"samples": 8, "bytes": 30, "scores": [scored(value)]} for way, value in theirs.items()}
    rows[page.ORIGINAL] = {"samples": 0, "bytes": 100, "scores": [scored(90)]}
    rows[page.OURS] = {"samples": 9, "bytes": 29, "scores": [scored(ours)], "seconds": 5}
    rows[page.OURS] |= {"scheme": "static", "layers": 4, "integers": 3}
    faster = {key: (2 / beside.get(key, 1), 1.0, 3.0) for key in rows}
    return page.Measured("m", rows, {"seconds": 0.002, "faster": faster, "beside": beside})


def test_the_best_is_the_most_accurate_and_of_equals_the_fastest(page: ModuleType) -> None:
    theirs = {"minmax-all": 88.0, "percentile-all": 89.0, "dynamic": 89.0}
    found = made(page, 89.5, theirs, {"minmax-all": 0.9, "percentile-all": 1.1, "dynamic": 9.0})
    assert page.best(found, 0) == "percentile-all" and page.better(found) == []
    [line] = page.verdicts(found)
    assert line[3].startswith("89.00") and line[4:] == ["yes", "1.10x", "yes"]


def test_what_is_as_accurate_and_faster_is_named(page: ModuleType) -> None:
    found = made(page, 89.0, {"minmax-all": 89.0, "dynamic": 90.0}, {"minmax-all": 0.8, "dynamic": 4.0})
    assert page.better(found) == ["minmax-all"]
    assert "MinMax, all operators (1.25x as fast as ours)" in page.section(found)
    assert page.verdicts(found)[0][6] == "yes"  # beside the most accurate, which is slow


@pytest.mark.parametrize(
    ("lost", "metric", "said"),
    [
        (-1.0, "top1_percent", "yes"),
        (2.0, "top1_percent", "2.00 less, within the sampling error"),
        (4.0, "top1_percent", "4.00 less"),
        (0.1, "psnr_y_db", "0.10 less"),
    ],
)
def test_less_accurate_is_said_with_what_chance_may_do(page: ModuleType, lost: float, metric: str, said: str) -> None:
    assert page.as_accurate(scored(90 - lost, metric), scored(90, metric)) == said


def test_sampling_errors(page: ModuleType) -> None:
    assert page.sampling_error(scored(90)) == pytest.approx(3.0)
    assert page.sampling_error(scored(60, "spearman_x100", 65)) == pytest.approx(8.0)
    assert page.sampling_error(scored(60, "mAP50")) is None


def test_the_table_has_what_failed(page: ModuleType) -> None:
    found = made(page, 89.0, {"minmax-all": 88.0}, {"minmax-all": 1.0})
    original, ours, first, *rest = page.lines_of(found)
    assert original[2:] == ["2.00 ms", "1.000", ""] and ours[3:] == ["0.290", "9"]
    assert first == ["MinMax, all operators", "88.00 ± 3.25", "2.00x (1.00-3.00)", "0.300", "8"]
    del found.rows["dynamic"]
    assert page.lines_of(found)[-1] == ["dynamic", "not run", "", "", ""] and page.best(found, 0) == "minmax-all"
    assert len(rest) == 6 and all(line[1] == "failed: too many bins" for line in rest)


def test_samples_that_a_histogram_can_have(stock: ModuleType) -> None:
    """All values of a sample, and copies of the largest, are kept at once; one sample there must be."""
    assert stock.affordable([10, 20], 100, budget=900) == 10
    assert stock.affordable([10, 20], 5, budget=900) == 5
    assert stock.affordable([10, 20], 100, budget=9) == 1


def test_opsets_without_scales_per_channel_are_converted(stock: ModuleType, tmp_path: Path) -> None:
    weight = helper.make_tensor("w", 1, [4, 3, 1, 1], np.ones(12, np.float32))
    graph = helper.make_graph(
        [helper.make_node("Conv", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", 1, [1, 3, 4, 4])],
        [helper.make_tensor_value_info("y", 1, [1, 4, 4, 4])],
        [weight],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=8)
    onnx.save(model, tmp_path / "old.onnx")
    assert onnx.load(stock.prepared(tmp_path / "old.onnx", tmp_path)).opset_import[0].version == stock.OPSET


def test_the_page(tmp_path: Path, evaluation: Path, stock: ModuleType) -> None:
    """What was kept from before is not measured again; here that most ways failed."""
    results, new = tmp_path / "out" / "quantize", ("minmax-all", "percentile-products")
    results.mkdir(parents=True)
    for way in set(stock.LABELS) - set(new):
        (results / f"digits-{way}.json").write_text(json.dumps({"samples": 0, "error": "too many bins"}))
    given = ("--eval", str(evaluation), "--models", "digits", "--seconds", "1", "--report", "page.md")
    first = run("quantize.py", tmp_path, *given)
    assert all(f"digits {way} [" in first for way in new) and "digits dynamic" not in first
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if "(" in line and line.startswith("| ")]
    scores = {row[0]: float(row[1].split()[0]) for row in rows if len(row) == 5}
    assert set(scores) == {"`onnxprune quantize`", "MinMax, all operators", "Percentile 99.999, products only"}
    assert all(score > 90 for score in scores.values()) and text.count("failed: too many bins") == 5
    ours, theirs = (json.loads((results / f"digits-{key}.json").read_text()) for key in ("onnxprune", new[1]))
    assert ours["samples"] == theirs["samples"] > 0 and ours["bytes"] > 0

    assert "digits minmax-all [" not in run("quantize.py", tmp_path, *given)
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == text


def test_no_folder_is_said_and_is_no_error(tmp_path: Path) -> None:
    printed = run("quantize.py", tmp_path, "--eval", "nowhere", "--report", "page.md")
    assert printed.startswith("No evaluation: ") and not (tmp_path / "page.md").exists()
