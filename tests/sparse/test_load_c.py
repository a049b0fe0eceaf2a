"""examples/load_sparse.c: compiled, and run with ONNX Runtime's own library, as programs that know no Python do."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from onnxprune import native
from onnxprune.model.load import load
from onnxprune.sparse import Mask, parse_pattern, rewrite
from tests.sparse.sessions import needs_library

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "examples" / "load_sparse.c"
COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
RUNTIME = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
needs_compiler = pytest.mark.skipif(
    COMPILER is None or RUNTIME is None or sys.platform != "linux", reason="no C compiler, or no runtime to link with"
)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert COMPILER is not None and RUNTIME is not None
    folder = tmp_path_factory.mktemp("program")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # what the linker looks for, and the loader
        (folder / name).symlink_to(RUNTIME)
    places = ["-I", str(ROOT / "tests" / "sparse" / "include"), "-L", str(folder), f"-Wl,-rpath,{folder}"]
    command = [COMPILER, "-Wall", "-Wextra", "-Werror", str(SOURCE), *places, "-l", "onnxruntime"]
    subprocess.run([*command, "-o", str(folder / "program")], check=True)
    return folder / "program"


@pytest.fixture(scope="module")
def model() -> onnx.ModelProto:
    dense = load(ROOT / "models" / "digits.onnx")
    name = "stage2.conv2.conv.weight"
    size = np.abs(dense.tensors[name].array()).reshape(24, 4, -1).sum(axis=1)
    keep = np.repeat(size > np.quantile(size, 0.8), 4, axis=0).reshape(dense.tensors[name].shape)
    return rewrite(dense, {name: Mask(keep, parse_pattern("4x1"))}).model.complete_proto()


def scores(program: Path, path: Path, library: str) -> np.ndarray:
    clean = {key: value for key, value in os.environ.items() if key != "LD_LIBRARY_PATH"}
    done = subprocess.run([str(program), str(path), library], capture_output=True, text=True, env=clean, check=False)
    assert done.returncode == 0, done.stderr
    return np.array(done.stdout.split(), np.float32)


def expected(path: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    image = (np.arange(64, dtype=np.float32) % 8 / 8).reshape(1, 1, 8, 8)
    return np.asarray(session.run(None, {"image": image})[0]).ravel()


@needs_compiler
def test_without_the_library(program: Path, model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "sparse.onnx")
    found = scores(program, tmp_path / "sparse.onnx", "-")
    np.testing.assert_allclose(found, expected(tmp_path / "sparse.onnx"), rtol=1e-5, atol=1e-5)


@needs_compiler
@needs_library
def test_with_the_library_its_kernels_run(program: Path, model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "right.onnx")
    wrong = onnx.ModelProto()
    wrong.CopyFrom(model)  # negated results of the function would show
    (function,) = wrong.functions
    function.node[-1].output[0] = "right"
    function.node.append(helper.make_node("Neg", ["right"], ["y"]))
    onnx.save(wrong, tmp_path / "wrong.onnx")
    right = expected(tmp_path / "right.onnx")
    found = scores(program, tmp_path / "wrong.onnx", str(native.library_path()))
    np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-5)
    assert np.abs(scores(program, tmp_path / "wrong.onnx", "-") - right).max() > 1e-2


@needs_compiler
def test_failures_are_said(program: Path, tmp_path: Path) -> None:
    for words in ([], [str(ROOT / "models" / "digits.onnx"), str(tmp_path / "missing.so")]):
        done = subprocess.run([str(program), *words], capture_output=True, text=True, check=False)
        assert done.returncode in (1, 2) and done.stderr.strip()


def test_the_page_shows_lines_of_the_program() -> None:
    page = (ROOT / "docs" / "sparse.md").read_text("utf-8")
    (shown,) = re.findall(r"```c\n(.*?)```", page, re.S)
    lines = [line.strip() for line in SOURCE.read_text("utf-8").splitlines()]
    assert shown.strip() and all(line.strip() in lines for line in shown.strip().splitlines())
