"""What fails once the model is written: the model stays, the result says so, and the exit code is the failure's."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import Call

import onnxprune

# Samples whose function puts a file where the report is to go, after that was checked.
DATA = """
from pathlib import Path
import numpy as np

def samples():
    Path("r.html").write_text("of others")
    return {"image": np.random.default_rng(0).standard_normal((64, 1, 8, 8)).astype(np.float32)}
"""


def asked() -> list[str]:
    Path("data.py").write_text(DATA)
    return ["shrink", "digits.onnx", "--data", "data.py:samples", "--repair", "bias", "--report", "r.html"]


def test_a_report_that_cannot_be_written_leaves_the_model(folder: Path, call: Call) -> None:
    failed = call(*asked(), code=2)
    assert "wrote digits.pruned.onnx" in failed.stdout
    assert "note: the report was not written: " in failed.stdout
    assert "digits.pruned.onnx is written and complete" in failed.stderr and "r.html" in failed.stderr
    assert Path("r.html").read_text() == "of others"


def test_the_function_gives_the_result_and_the_problem(folder: Path) -> None:
    asked()
    result = onnxprune.shrink("digits.onnx", data="data.py:samples", repair="bias", report="r.html")
    assert [path.name for path in result.written] == ["digits.pruned.onnx"]
    failure = result.failure()
    assert result.problem is not None and failure is not None and failure.exit_code == result.problem.exit_code


def test_without_a_model_that_was_written_it_is_an_error_as_any(folder: Path) -> None:
    asked()
    Path("r.html").mkdir()
    with pytest.raises(onnxprune.OnnxPruneError):
        onnxprune.shrink("digits.onnx", ratio=0.5, report="r.html")
    assert not Path("digits.pruned.onnx").exists()
