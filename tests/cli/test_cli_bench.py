"""`onnxprune bench` as users call it: verdicts, exit codes, files that it writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_schema import check
from cli_support import Call, Document

QUICK = ("--runs", "6", "--threads", "1")


def test_one_document_also_if_the_gate_fails(call: Call, document: Document, folder: Path) -> None:
    """The baseline is an earlier result, made a million times faster by hand."""
    first = document("bench", "digits.onnx", *QUICK, "--export-json", "earlier.json", "--export-markdown", "r.md")
    check(first)
    assert json.loads((folder / "earlier.json").read_text()) == first
    shown = (folder / "r.md").read_text()
    assert shown.startswith("## 1 model, ") and "| `digits.onnx` |" in shown
    for measured in first["settings"][0]["measurements"]:
        entry = measured["latency"]
        entry["median_s"], entry["interval_s"] = entry["median_s"] / 1e6, [x / 1e6 for x in entry["interval_s"]]
    (folder / "faster.json").write_text(json.dumps(first))
    arguments = ("bench", "digits.onnx", *QUICK, "--baseline", "faster.json", "--fail-above", "5%")
    failed = call(*arguments, "--format", "json", code=1)
    found = json.loads(failed.stdout)
    check(found)
    (comparison,) = found["settings"][0]["comparisons"]
    assert (comparison["verdict"], comparison["paired"]) == ("slower", False)
    assert found["gate"]["failed"] == ["digits.onnx"] and not found["gate"]["passed"]
    assert failed.stderr.startswith("Error: digits.onnx is slower than digits.onnx in faster.json by at least ")


def test_pairs_a_profile_and_a_model_that_is_left_out(call: Call, folder: Path) -> None:
    (folder / "text.onnx").write_text("not a model at all, but a sentence of some length")
    arguments = ("bench", "digits.onnx", "text.onnx", "digits.onnx", *QUICK, "--profile", "--data", "random")
    done = call(*arguments, "--format", "json", code=3)
    found = json.loads(done.stdout)
    check(found)
    assert found["reference"] == "digits.onnx" and found["settings"][0]["comparisons"][0]["pairs_count"] == 6
    assert [one["model"] for one in found["rejected"]] == ["text.onnx"] and done.stderr.startswith("Error: text.onnx")
    assert found["values"].startswith("random") and found["profiles"][0]["operators"]
    assert {change["name"] for change in found["layers"][0]["changes"]} >= {"depthwise.conv", "classifier"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("missing.onnx",), "missing.onnx"),
        (("digits.onnx", "--batch", "0"), "--batch"),
        (("digits.onnx", "--shape", "nothing=3"), "neither an input nor a symbolic size"),
        (("digits.onnx", "--provider", "tpu"), "not installed"),
        (("digits.onnx", "--export-json", "digits.onnx", "--force"), "input file"),
        (("digits.onnx", "--export-markdown", "missing/r.md"), "does not exist"),
        (("digits.onnx", "--seconds", "nan"), "--seconds"),
        ((), "Missing argument"),
    ],
)
def test_wrong_use_is_said_at_once(call: Call, arguments: tuple[str, ...], words: str) -> None:
    failed = call("bench", *arguments, code=2)
    assert words in failed.stderr and failed.stdout == ""
