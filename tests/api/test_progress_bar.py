"""`progress=True`: a bar on stderr, for every function that says how far it is."""

from __future__ import annotations

import inspect
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import onnxprune

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"
CALLS = {
    "compress": "compress('m.onnx', None, target='size=90%', data='random', samples=20, progress=True)",
    "shrink": "shrink('m.onnx', None, ratio=0.2, progress=True)",
    "quantize": "quantize('m.onnx', None, progress=True)",
    "sparsify": "sparsify('m.onnx', None, sparsity=0.5, progress=True)",
    "sweep": "sweep('m.onnx', ratios=[0.2], bench=False, progress=True)",
    "inspect": "inspect('m.onnx', progress=True)",
    "verify": "verify('m.onnx', shrink('m.onnx', None, ratio=0.2).model, progress=True)",
    "bench": "bench('m.onnx', 'm.onnx', runs=8, progress=True)",
    "check": "check('m.onnx', max_size='1MB', progress=True)",
    "pack": "pack('m.onnx', 'p.onnxpack', progress=True)",
    "unpack": "unpack(pack('m.onnx', 'p.onnxpack').written[0], 'u.onnx', progress=True)",
}


def test_every_function_that_tells_can_draw() -> None:
    functions = [name for name in onnxprune.__all__ if inspect.isfunction(getattr(onnxprune, name))]
    assert set(CALLS) == {n for n in functions if "progress" in inspect.signature(getattr(onnxprune, n)).parameters}


@pytest.mark.parametrize("name", CALLS)
def test_a_bar_is_drawn_on_a_terminal_only(name: str, tmp_path: Path) -> None:
    """It is gone at the end; stdout stays empty."""
    shutil.copy(DIGITS, tmp_path / "m.onnx")
    code = f"from onnxprune import *\nfrom onnxprune import bench\n{CALLS[name]}"
    command = [sys.executable, "-W", "error", "-c", code]
    terminal = {**os.environ, "FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "100"}
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=terminal)
    assert shown.returncode == 0, shown.stderr
    assert shown.stdout == "" and "\x1b[2K" in shown.stderr and "━" in shown.stderr


def test_nothing_is_drawn_elsewhere(tmp_path: Path) -> None:
    shutil.copy(DIGITS, tmp_path / "m.onnx")
    plain = {name: value for name, value in os.environ.items() if name != "FORCE_COLOR"}
    command = [sys.executable, "-c", f"from onnxprune import *\n{CALLS['inspect']}"]
    shown = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, env=plain)
    assert (shown.returncode, shown.stdout, shown.stderr.strip()) == (0, "", "")
