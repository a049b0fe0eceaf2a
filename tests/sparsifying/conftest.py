"""Files with sparse weights made of digits.onnx: without samples, in every form, and after channels were removed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

import onnxprune
from onnxprune.results import ShrinkResult, SparsifyResult

MODELS = Path(__file__).parents[2] / "models"


@dataclass(frozen=True)
class Made:
    """The original, what came of it, and where."""

    original: Path
    path: Path
    result: SparsifyResult | ShrinkResult


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sparsity")
    return Path(shutil.copy(MODELS / "digits.onnx", folder / "digits.onnx"))


@pytest.fixture(scope="session")
def operators(digits: Path) -> Made:
    path = digits.with_name("operators.onnx")
    return Made(digits, path, onnxprune.sparsify(digits, path, sparsity=0.8, exclude=["classifier"]))


@pytest.fixture(scope="session")
def zeros(digits: Path) -> Made:
    path = digits.with_name("zeros.onnx")
    result = onnxprune.sparsify(digits, path, sparsity=0.6, pattern="unstructured", emit="dense-zeros")
    return Made(digits, path, result)


@pytest.fixture(scope="session")
def initializers(digits: Path) -> Made:
    path = digits.with_name("initializers.onnx")
    return Made(digits, path, onnxprune.sparsify(digits, path, pattern="2:4", emit="sparse-initializers"))


@pytest.fixture(scope="session")
def both(digits: Path) -> Made:
    """Channels removed first."""
    path = digits.with_name("both.onnx")
    return Made(digits, path, onnxprune.shrink(digits, path, ratio=0.25, sparsity=0.7, pattern="2x1"))
