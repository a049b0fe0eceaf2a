"""The program as users call it: in this process (fast), and as a process of its own (everything else)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import DIGITS, Call, Spawn
from click.testing import CliRunner, Result
from untimed import untimed

from onnxprune.cli.main import application


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test, with digits.onnx in it. No configuration is above it."""
    shutil.copy(DIGITS, tmp_path / "digits.onnx")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def call(folder: Path) -> Call:
    """Run a command in this process."""

    def run(*arguments: object, code: int | None = 0) -> Result:
        result = CliRunner().invoke(application, untimed(arguments), prog_name="onnxprune")
        assert code is None or result.exit_code == code, (result.exit_code, result.output)
        return result

    return run


@pytest.fixture
def document(call: Call) -> Callable[..., Any]:
    """Run a command with --format json; its one document."""

    def run(*arguments: object, code: int | None = 0) -> Any:
        return json.loads(call(*arguments, "--format", "json", code=code).stdout)

    return run


@pytest.fixture
def spawn(folder: Path) -> Spawn:
    """Run a command as a process; `python` are options of the interpreter."""

    def run(*arguments: object, python: tuple[str, ...] = (), code: int | None = 0, **options: Any) -> Any:
        environment = {**os.environ, **options.pop("env", {})}
        command = [sys.executable, *python, "-m", "onnxprune", *untimed(arguments)]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options}
        result = subprocess.run(command, text=True, env=environment, check=False, **options)
        assert code is None or result.returncode == code, (result.returncode, result.stdout, result.stderr)
        return result

    return run
