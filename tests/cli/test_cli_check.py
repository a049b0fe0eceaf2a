"""`onnxprune check` as users call it: verdicts, exit codes, files, and what GitHub reads."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from cli_schema import check
from cli_support import ROOT, Call, Document
from onnx import TensorProto, helper

import onnxprune
from onnxprune.checking.verdicts import FAILED, UNDECIDED
from onnxprune.errors import UsageError
from onnxprune.report.github import command

QUICK = ("--runs", "6", "--threads", "1")
CALIBRATION = ROOT / "models" / "digits_calib.npz"


@pytest.fixture
def small(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with half of the channels of digits.onnx; nothing says that this is GitHub."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    call("-q", "shrink", "digits.onnx", "--ratio", "0.5", "-o", "small.onnx")
    return folder / "small.onnx"


def test_costs_of_a_single_model(call: Call, document: Document, folder: Path) -> None:
    size = (folder / "digits.onnx").stat().st_size
    found = document("check", "digits.onnx", "--max-size", size, "--max-params", "226634", "--max-macs", "5555008")
    check(found)
    assert found["passed"] and [one["verdict"] for one in found["models"][0]["checks"]] == ["passed"] * 3
    failed = call("check", "digits.onnx", "--max-size", size - 1, code=1)
    assert f"{size:,} B" in failed.stdout and f"{size - 1:,} B" in failed.stderr, "rounded, they would look the same"
    assert failed.stderr.startswith("Error: the budget is missed: digits.onnx: file size ")


def test_a_share_of_integers(call: Call, document: Document, folder: Path) -> None:
    """All layers of a quantised file are in int8; of the original none is."""
    (folder / "onnxprune.toml").write_text("[[check.models]]\npath = 'digits.int8.onnx'\nmin-int8 = '90%'\n")
    static = ("--data", CALIBRATION, "--samples", "100", "--scheme", "static", "--repair", "none")
    call("quantize", "digits.onnx", *static)
    found = document("check")
    check(found)
    (one,) = found["models"][0]["checks"]
    assert (one["kind"], one["allowed_ratio"], one["measured_ratio"]) == ("int8", 0.9, 1.0)
    failed = call("check", "digits.onnx", "--min-int8", "0.5", code=1).stderr
    assert "int8 share of the MACs 0 %, allowed at least 50 %: 50 percentage points too few; 0 of" in failed
    assert "a share from 0 to 1" in call("check", "digits.onnx", "--min-int8", "2", code=2).stderr


def test_against_a_baseline(document: Document, small: Path) -> None:
    """Every kind of budget at once, some of them missed; one document, and the exit code of a gate."""
    (small.parent / "score.py").write_text(
        "import os\n\ndef score(path):\n    return 0.9 if 'digits' in path else 0.7\n"
    )
    budgets = ("--max-size", "60%", "--max-latency-ratio", "1000000", "--min-agreement", "1", "--max-error", "1000%")
    quality = ("--metric", "score.py:score", "--min-metric", "0.7", "--max-drop", "0.1", "--data", CALIBRATION)
    found = document("check", "small.onnx", "--baseline", "digits.onnx", *budgets, *quality, *QUICK, code=1)
    check(found)
    checks = {one["kind"]: one for one in found["models"][0]["checks"]}
    assert {kind: one["verdict"] for kind, one in checks.items()} == {
        "size": "passed",
        "latency": "passed",
        "agreement": "failed",
        "error": "passed",
        "metric": "passed",
        "drop": "failed",
    }
    assert checks["size"]["allowed_bytes"] == int(0.6 * 915591) and checks["size"]["baseline_share_ratio"] == 0.6
    low, high = checks["latency"]["interval_ratio"]
    assert low <= checks["latency"]["measured_ratio"] <= high <= 1e6
    assert 0 < checks["agreement"]["measured_ratio"] < 1 and checks["drop"]["measured_absolute"] == pytest.approx(0.2)


def test_agreement_of_a_model_with_itself_and_latency_that_no_model_reaches(small: Path) -> None:
    with np.load(CALIBRATION) as file:
        images = file["image"]
    result = onnxprune.check(
        "digits.onnx",
        baseline="digits.onnx",
        data={"image": images},
        min_agreement=1,
        max_error=0,
        max_latency_ratio=1e-6,
        runs=6,
        threads=1,
    )
    (model,) = result.models
    assert [one.verdict for one in model.checks] == [FAILED, "passed", "passed"], "latency, agreement, error"
    assert result.failure() is not None and not result.passed


def test_the_verdict_on_a_time_is_that_of_its_interval(document: Document, small: Path) -> None:
    """A model against itself, where the bound may or may not be in the interval."""
    for strict in ((), ("--strict",)):
        bound = ("--max-latency-ratio", "1")
        found = document("check", "digits.onnx", "--baseline", "digits.onnx", *bound, *QUICK, *strict, code=None)
        check(found)
        ((time,),) = [model["checks"] for model in found["models"]]
        low, high = time["interval_ratio"]
        expected = "failed" if low > 1 else "passed" if high <= 1 else "undecided"
        assert time["verdict"] == expected
        assert found["passed"] == (expected == "passed" or (expected == "undecided" and not strict))


def test_every_model_of_the_file_is_checked(call: Call, document: Document, small: Path) -> None:
    (small.parent / "text.onnx").write_text("not a model at all, but a sentence of some length")
    (small.parent / "onnxprune.toml").write_text(
        "format = 'text'\n[check]\nonly = ['size', 'params']\n"
        "[[check.models]]\npath = 'gone.onnx'\nmax-size = '1MB'\n"
        "[[check.models]]\npath = 'text.onnx'\nmax-size = '1MB'\n"
        "[[check.models]]\npath = 'small.onnx'\nmax-size = '60%'\nmax-params = 1\nbaseline = 'lost.onnx'\n"
        "[[check.models]]\npath = 'digits.onnx'\nmax-size = '1MB'\nmin-metric = 1\n"
    )
    found = document("check", code=2)
    check(found)
    gone, text, smaller, digits = found["models"]
    assert (gone["error"]["exit_code"], text["error"]["exit_code"]) == (2, 3) and gone["model"] is None
    assert smaller["error"]["message"].endswith("'lost.onnx'"), "its other budgets are checked all the same"
    assert [(one["kind"], one["verdict"]) for one in smaller["checks"]] == [("params", "failed")]
    assert digits["verdict"] == "passed" and [one["kind"] for one in digits["checks"]] == ["size"]
    assert "needs --metric" in call("check", "--only", "metric", code=2).stderr
    assert call("-q", "check", "digits.onnx").stdout == "passed: 1 budget of 1 model, none missed\n"
    assert call("env").exit_code == 0, "the table of check does not disturb other commands"


def test_junit(call: Call, small: Path) -> None:
    (small.parent / "onnxprune.toml").write_text(
        "[[check.models]]\npath = 'small.onnx'\nmax-size = 1\nmax-params = '1M'\n"
        '[[check.models]]\npath = "<&\\"\\u0001.onnx"\nmax-size = 1\n'
    )
    call("check", "--junit", "r.xml", code=2)
    root = ElementTree.parse(small.parent / "r.xml").getroot()
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    first, second = root
    assert (first.get("name"), second.get("name")) == ("small.onnx", '<&"\\x01.onnx')
    failure = first.find("testcase[@name='file size']/failure")
    assert failure is not None and "allowed at most 1 B" in (failure.get("message") or "")
    assert "exists" in call("check", "--junit", "r.xml", code=2).stderr
    call("check", "--junit", "r.xml", "--force", "--only", "params")
    assert ElementTree.parse(small.parent / "r.xml").getroot().get("failures") == "0"
    before = small.read_bytes()
    assert "input file" in call("check", "--junit", "small.onnx", "--force", code=2).stderr
    assert small.read_bytes() == before


def test_github_gets_annotations_and_a_summary(call: Call, small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On stderr, so that stdout stays one document; the summary is added to what other steps wrote."""
    summary = small.parent / "summary.md"
    summary.write_text("before\n")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(small.parent.parent))
    done = call("check", "small.onnx", "gone.onnx", "--max-size", "1kB", "--format", "json", code=2)
    check(json.loads(done.stdout))
    where = f"file={small.parent.name}"
    lines = [line for line in done.stderr.splitlines() if line.startswith("::")]
    assert [line.partition(",")[0] for line in lines] == [f"::error {where}/small.onnx", f"::error {where}/gone.onnx"]
    assert lines[0].startswith(f"::error {where}/small.onnx,title=onnxprune%3A file size::small.onnx: file size ")
    text = summary.read_text()
    assert text.startswith("before\n# onnxprune check\n") and "| file size |" in text
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(small.parent / "no" / "summary.md"))
    assert "cannot write the job summary" in call("check", "small.onnx", "--max-size", "1MB", code=2).stderr
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    monkeypatch.setenv("GITHUB_ACTIONS", "false")
    assert "::" not in call("check", "small.onnx", "--max-size", "1kB", code=1).stderr


def test_nothing_in_an_annotation_ends_it() -> None:
    text = command("error", "100 %\n::warning::x\r\x1b", file="a,b:c%\n.onnx", title="t")
    assert text == "::error file=a%2Cb%3Ac%25\\n.onnx,title=t::100 %25%0A::warning::x\\r\\x1b"
    assert text.isprintable()


def test_unknown_sizes_leave_macs_undecided(call: Call, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A MatMul of an operator that nobody knows: how large it is cannot be told, so that no bound on MACs is proven."""
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Odd", ["x"], ["y"], domain="of.mine"), helper.make_node("MatMul", ["y", "y"], ["z"])],
        "g",
        [value("x", TensorProto.FLOAT, [3, 3])],
        [value("z", TensorProto.FLOAT, None)],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("of.mine", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), "odd.onnx")
    done = call("check", "odd.onnx", "--max-macs", "1G")
    assert "undecided" in done.stdout and done.stderr.startswith("::warning file=odd.onnx,")
    (only,) = onnxprune.check("odd.onnx", max_macs="1G").models[0].checks
    assert only.verdict == UNDECIDED
    strict = call("check", "odd.onnx", "--max-macs", "1G", "--strict", "--junit", "r.xml", code=1)
    assert "(--strict)" in strict.stderr and "<failure" in (folder / "r.xml").read_text()
    call("check", "odd.onnx", "--max-macs", "1G", "--junit", "r.xml", "--force")
    assert "<skipped" in (folder / "r.xml").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "there is nothing to check"),
        (("digits.onnx",), "there is no budget for 'digits.onnx'"),
        (("digits.onnx", "--max-size", "much"), "--max-size = 'much': not a size"),
        (("digits.onnx", "--max-size", "1MB", "--metric", "s.py:f"), "--metric has no effect"),
        (("digits.onnx", "--min-metric", "1"), "needs --metric"),
        (("digits.onnx", "--max-size", "1MB", "--only", "weight"), "'weight' is not one of"),
        (("digits.onnx", "--max-size", "1MB", "--junit", "no/r.xml"), "does not exist"),
        (("digits.onnx", "--max-latency-ratio", "1", "--baseline", "digits.onnx", "--seconds", "nan"), "--seconds"),
    ],
)
def test_what_is_wrong(call: Call, folder: Path, arguments: tuple[str, ...], message: str) -> None:
    assert message in call("check", *arguments, code=2).stderr


def test_no_classes_no_agreement(call: Call, small: Path) -> None:
    """An output without classes is an error that says so, and names what to use instead."""
    model = onnx.load("digits.onnx")
    pooled = helper.make_node("ReduceMax", [model.graph.output[0].name], ["top"], axes=[1], keepdims=1)
    model.graph.node.append(pooled)
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("top", TensorProto.FLOAT, ["batch", 1]))
    onnx.save(model, "top.onnx")
    arguments = ("check", "top.onnx", "--baseline", "top.onnx", "--data", CALIBRATION)
    failed = call(*arguments, "--min-agreement", "0.9", code=3)
    assert "no agreement can be told" in failed.stderr and "max-error" in failed.stderr
    call(*arguments, "--max-error", "0")


def test_the_configuration_of_a_folder_below(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (small.parent / "pyproject.toml").write_text(
        "[[tool.onnxprune.check.models]]\npath = 'small.onnx'\nmax-size = '100%'\nbaseline = 'digits.onnx'\n"
    )
    (small.parent / "below").mkdir()
    monkeypatch.chdir(small.parent / "below")
    (model,) = onnxprune.check().models
    assert model.name == "small.onnx" and [one.verdict for one in model.checks] == ["passed"]
    monkeypatch.chdir(small.parent.parent)
    with pytest.raises(UsageError, match="nothing to check"):
        onnxprune.check()
