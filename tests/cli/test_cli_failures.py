"""What is said, and left behind, when something goes wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_schema import check
from cli_support import Call

import onnxprune
from onnxprune.errors import GateError, UsageError, VerificationError


def _caused(error: BaseException, by: BaseException) -> BaseException:
    """Ctrl-C while a library is imported comes out as something else."""
    error.__cause__ = by
    return error


def _raising(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def shrink(*arguments: Any, **options: Any) -> Any:
        raise error

    monkeypatch.setattr(onnxprune, "shrink", shrink)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (GateError("too slow"), 1, "Error: too slow\n"),
        (VerificationError("not the same", hint="Report it."), 4, "Error: not the same\n  Report it.\n"),
        (MemoryError(), 3, "Error: there is not enough memory for this model\n"),
        (KeyboardInterrupt(), 130, "Interrupted.\n"),
        (_caused(ImportError("initialization failed"), KeyboardInterrupt()), 130, "Interrupted.\n"),
        (_caused(UsageError("it cannot be run"), _caused(ImportError(), KeyboardInterrupt())), 130, "Interrupted.\n"),
        (VerificationError("a\x1b[2Jb"), 4, "Error: a\\x1b[2Jb\n"),
    ],
)
def test_exit_codes(call: Call, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, said: str) -> None:
    _raising(monkeypatch, error)
    assert call("shrink", "digits.onnx", code=code).stderr == said
    found = json.loads(call("shrink", "digits.onnx", "--format", "json", code=code).stdout)
    check(found)
    assert found["error"]["exit_code"] == code


@pytest.mark.parametrize("option", ["-q", "-vv", "--log-level=debug"])
def test_options_of_the_program_come_before_the_command(call: Call, option: str) -> None:
    error = call("shrink", option, "digits.onnx", code=2).stderr
    name = option[:2] if option[1] != "-" else "--log-level"
    assert f"{name} comes before the command: onnxprune {name}" in error and " shrink ..." in error
    assert "--help" in call("shrink", "--no-such", "digits.onnx", code=2).stderr


def test_a_bug_leaves_a_log(call: Call, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """One line on the screen; operators, shapes, options and traceback in the file; no weights and no folders."""
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    _raising(monkeypatch, RuntimeError("first line\nsecond line"))
    result = call("shrink", folder / "digits.onnx", "--criterion", "l2", code=70)
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("Error: this is a bug in onnxprune (RuntimeError: first line).")
    path = Path(result.stderr.split()[-1])
    text = path.read_text()
    assert path.parent == folder and path.stat().st_mode & 0o077 == 0
    for part in ("Traceback", "second line", "12 x Conv", "type 1 [48, 48, 3, 3]", "criterion = 'l2'", "python 3"):
        assert part in text, part
    assert path.stat().st_size < 20_000
    assert "model = 'digits.onnx'" in text
    found = json.loads(call("shrink", "digits.onnx", "--format", "json", code=70).stdout)
    check(found)
    assert found["error"]["type"] == "InternalError" and "onnxprune-" in found["error"]["hint"]


def test_a_bug_before_there_is_a_model(call: Call, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    _raising(monkeypatch, RuntimeError())
    (folder / "broken.onnx").write_bytes(b"\x08")
    path = Path(call("shrink", "broken.onnx", code=70).stderr.split()[-1])
    assert "not available: ModelError" in path.read_text()


def test_a_bug_without_a_place_for_the_log(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nonexistent")
    _raising(monkeypatch, RuntimeError("x"))
    assert "could not be written" in call("shrink", "digits.onnx", code=70).stderr
