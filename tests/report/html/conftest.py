"""What the tests of the pages share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of a test, with the example model and its data."""
    for name in ("digits.onnx", "digits_calib.npz"):
        shutil.copy(MODELS / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path
