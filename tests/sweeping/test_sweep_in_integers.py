"""`sweep --quantize`: every point, and the original, in int8 as well."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from cli_schema import check
from click.testing import CliRunner
from sweep_support import small_data, small_model

import onnxprune
from onnxprune.cli.main import application
from onnxprune.errors import UsageError
from onnxprune.sweeping.results import FINISHED, NOTHING
from tests.oracle import session
from tests.report.html.page_parser import Page

QUICK: dict[str, Any] = {"repair": "bias", "bench": False, "quantize": True, "data": "d.npz", "multiple_of": 1}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    small_model(tmp_path / "m.onnx")
    small_data(tmp_path / "d.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_result_is_there_in_int8_as_well(folder: Path) -> None:
    found = onnxprune.sweep("m.onnx", "s", ratios=[0.25, 0.5], **QUICK)
    points = {one.point.name: one for one in found.points}
    names = ["ratio-0.25-obs", "ratio-0.5-obs"]
    assert list(points) == [*names, "int8", *(f"{name}-int8" for name in names)]
    assert all(one.outcome.status == FINISHED for one in points.values())
    for name in names:
        cut, small = points[name], points[f"{name}-int8"]
        assert small.point.quantized is not None and cut.point.quantized is None
        assert small.model.macs == cut.model.macs < found.original.macs
        assert (small.outcome.removed, small.outcome.reached_ratio) == (cut.outcome.removed, cut.outcome.reached_ratio)
        onnxprune.verify("m.onnx", cut.path)  # type: ignore[arg-type]
        onnxprune.verify(cut.path, small.path)  # type: ignore[arg-type]
    alone = points["int8"]
    assert alone.model.macs == found.original.macs and alone.outcome.removed == 0
    onnxprune.verify("m.onnx", alone.path)  # type: ignore[arg-type]
    check(json.loads((folder / "s" / "int8.json").read_text()))


def test_they_are_judged_against_the_original(folder: Path) -> None:
    """Not against what they were made of: the error of a cut and its integers is more than that of either."""
    found = onnxprune.sweep("m.onnx", "s", ratios=[0.5], **QUICK)
    cut, alone, both = (one.outcome for one in found.points)
    assert cut.error is not None and alone.error is not None and both.error is not None
    assert cut.held_out == alone.held_out == both.held_out == 8
    assert alone.error < cut.error and both.error > 0.8 * cut.error
    x = np.load("d.npz")["x"]
    a, b = (session(onnx.load(path)).run(None, {"x": x})[0] for path in ("m.onnx", "s/ratio-0.5-obs-int8.onnx"))
    assert both.error == pytest.approx(np.linalg.norm(a - b) / np.linalg.norm(a), rel=0.5)


def test_what_is_there_is_not_computed_again(folder: Path) -> None:
    """Also where the plain points are of an earlier run."""
    options = {**QUICK, "quantize": False}
    onnxprune.sweep("m.onnx", "s", ratios=[0.5], **options)
    more = onnxprune.sweep("m.onnx", "s", ratios=[0.5], **QUICK)
    assert [one.reused for one in more.points] == [True, False, False] and more.where == "this machine"
    again = onnxprune.sweep("m.onnx", "s", ratios=[0.5], **QUICK)
    assert all(one.reused for one in again.points)
    assert [one.outcome for one in again.points] == [one.outcome for one in more.points]
    less = onnxprune.sweep("m.onnx", "s", ratios=[0.5], **options)
    assert [one.point.name for one in less.points] == ["ratio-0.5-obs"] and less.points[0].reused


def test_where_nothing_leaves_there_is_nothing_to_quantise(folder: Path) -> None:
    found = onnxprune.sweep("m.onnx", "s", targets=["params=10M"], **QUICK)
    plain, alone, both = found.points
    assert (plain.outcome.status, alone.outcome.status, both.outcome.status) == (NOTHING, FINISHED, NOTHING)
    assert both.outcome.failure is not None and both.outcome.failure.message.startswith("not quantised: the original")


def test_the_page_and_the_document(folder: Path) -> None:
    command = ("sweep", "m.onnx", "--ratios", "0.5", "--data", "d.npz", "--repair", "bias", "--quantize")
    timed = ("--runs", "6", "--threads", "1", "--report", "p.html", "--format", "json", "--multiple-of", "1")
    result = CliRunner().invoke(application, [*command, *timed])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    check(document)
    assert ["quantized" in one for one in document["points"]] == [False, True, True]
    assert all(one["latency"] is not None for one in document["points"])
    page = Page((folder / "p.html").read_text("utf-8"))
    page.check()
    text = page.sections["reproduce"]
    assert "onnxprune quantize m.onnx -o int8.onnx" in text and text.count("--scheme static") == 2
    assert "onnxprune quantize ratio-0.5-obs.onnx -o ratio-0.5-obs-int8.onnx" in text
    assert "int8 alone" in (folder / "p.html").read_text() and "obs, int8" in (folder / "p.html").read_text()


def test_samples_are_needed(folder: Path) -> None:
    with pytest.raises(UsageError, match=r"quantize=.* there is no data"):
        onnxprune.sweep("m.onnx", "s", ratios=[0.5], quantize=True)
