"""Code of the user that misbehaves: it changes the working directory, rewrites what it is given, or is asynchronous."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.data import anchored, open_data
from onnxprune.errors import DataError
from onnxprune.measure.metric import open_metric
from onnxprune.model import load
from onnxprune.results import Progress

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"
CODE = """
import os
import numpy as np

def wander(path):
    os.chdir("/")
    return 1.0

def evil(path):
    for folder, _, files in os.walk(os.path.dirname(path)):
        for name in files:
            with open(os.path.join(folder, name), "r+b") as file:
                file.write(b"junk")
    return 1.0

def gone(path):
    os.unlink(path)
    return 1.0

async def later(path):
    return 1.0

def images():
    os.chdir("/")
    for _ in range(8):
        yield {"image": np.zeros((1, 8, 8), np.float32)}

def nearby():
    os.chdir("inner")
    for name in ("a.npy", "b.npy"):
        yield {"image": np.load(name)}

async def awaited():
    return {"image": np.zeros((1, 1, 8, 8), np.float32)}

async def stream():
    yield {"image": np.zeros((1, 8, 8), np.float32)}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with a model and code in it."""
    shutil.copy(DIGITS, tmp_path / "in.onnx")
    (tmp_path / "code.py").write_text(CODE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"code.py", "in.onnx"}


def beside(folder: Path) -> bytes:
    """The model with its weights in a file of their own; the bytes of that."""
    onnx.save(
        onnx.load(DIGITS), str(folder / "in.onnx"), save_as_external_data=True, location="in.bin", size_threshold=0
    )
    return (folder / "in.bin").read_bytes()


def test_results_go_where_they_were_asked_for(folder: Path) -> None:
    """Also if the metric and the data change the working directory."""
    result = onnxprune.shrink("in.onnx", "out.onnx", ratio=0.3, repair="bias", metric="code.py:wander", max_drop=0)
    assert result.written == (folder / "out.onnx",) and Path.cwd() == folder
    onnxprune.sparsify("in.onnx", "zeros.onnx", sparsity=0.5, emit="dense-zeros", data="code.py:images", repair="none")
    onnxprune.pack("in.onnx", "out.onnxpack", metric="code.py:wander", data="code.py:images")
    assert names(folder) == {"out.onnx", "zeros.onnx", "out.onnxpack"} and Path.cwd() == folder


def test_a_callable_that_our_guard_cannot_bring_back(folder: Path) -> None:
    """What runs beside our guard (here: progress, once the model is read) cannot move the output either."""

    def wander(step: Progress) -> None:
        if step.stage == "trace":
            os.chdir("/")

    onnxprune.shrink("in.onnx", "out.onnx", ratio=0.3, repair="none", progress=wander)
    assert Path.cwd() == Path("/")
    os.chdir(folder)
    assert names(folder) == {"out.onnx"}


def test_check_reads_every_model_after_the_metric(folder: Path) -> None:
    shutil.copy("in.onnx", "second.onnx")
    result = onnxprune.check("in.onnx", "second.onnx", metric="code.py:wander", max_drop=0, baseline="in.onnx")
    assert [(model.name, model.error) for model in result.models] == [("in.onnx", None), ("second.onnx", None)]
    assert result.passed and result.models[0].path == Path("in.onnx")


def test_code_finds_the_working_directory_that_it_left(folder: Path) -> None:
    """Samples are read one by one; in between the directory is ours."""
    (folder / "inner").mkdir()
    for name in ("a.npy", "b.npy"):
        np.save(folder / "inner" / name, np.zeros((1, 8, 8), np.float32))
    assert open_data("code.py:nearby", load("in.onnx")).samples == 2
    assert Path.cwd() == folder


def test_a_directory_that_is_removed(folder: Path) -> None:
    """Of code that leaves into a folder which is gone then, only the folder is missed."""

    def metric(path: str) -> float:
        (folder / "inner").mkdir(exist_ok=True)
        os.chdir(folder / "inner")
        (folder / "inner").rmdir()
        return 1.0

    with open_metric(metric) as opened:
        assert opened(DIGITS) == opened(DIGITS) == 1
    assert Path.cwd() == folder


@pytest.mark.parametrize("text", ["random", "gone.npz", "x=gone.npy", "gone.py:f", ""])
def test_what_is_not_there_stays_as_it_is_written(text: str) -> None:
    assert anchored(text) == text


def test_what_is_there_becomes_absolute(folder: Path) -> None:
    assert anchored("code.py:images") == f"{folder / 'code.py'}:images"
    assert anchored(["a=b=in.onnx", Path("in.onnx")]) == [f"a=b={folder / 'in.onnx'}", str(folder / "in.onnx")]
    assert anchored(None) is None


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("name", ["evil", "gone"])
def test_a_metric_that_changes_its_file(folder: Path, name: str, external: bool) -> None:
    """Neither the original nor the proven result is what it got."""
    weights = beside(folder) if external else None
    before = (folder / "in.onnx").read_bytes()
    onnxprune.shrink("in.onnx", "plain.onnx", ratio=0.3, repair="none", external_data="always")
    onnxprune.shrink(
        "in.onnx", "out.onnx", ratio=0.3, repair="none", external_data="always", metric=f"code.py:{name}", max_drop=0
    )
    assert (folder / "in.onnx").read_bytes() == before
    assert weights is None or (folder / "in.bin").read_bytes() == weights
    assert (folder / "out.onnx.data").read_bytes() == (folder / "plain.onnx.data").read_bytes()
    onnxprune.verify("in.onnx", "out.onnx")


def test_other_commands_give_copies_too(folder: Path) -> None:
    beside(folder)
    onnxprune.shrink("in.onnx", "small.onnx", ratio=0.3, repair="none", external_data="always")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    onnxprune.check("small.onnx", metric="code.py:evil", max_drop=0, baseline="in.onnx")
    packed = onnxprune.pack("in.onnx", "out.onnxpack", metric="code.py:evil", weights="exact")
    assert {name: (folder / name).read_bytes() for name in before} == before
    (folder / "back").mkdir()
    onnxprune.unpack(packed.written[0], folder / "back" / "in.onnx")
    assert (folder / "back" / "in.bin").read_bytes() == before["in.bin"]


def test_a_sweep(folder: Path) -> None:
    """Its folder, its models and the original stay, whatever the metric does."""
    before = (folder / "in.onnx").read_bytes()
    (folder / "both.py").write_text(CODE + "\ndef both(path):\n    return evil(path) + wander(path)\n")
    result = onnxprune.sweep("in.onnx", ratios=[0.3], criteria="l1", metric="both.py:both", bench=False, jobs=1)
    (point,) = result.points
    assert result.folder == Path("in.sweep") and point.path is not None and point.path.parent == result.folder
    assert point.metric == result.metric_before == 2 and (folder / "in.onnx").read_bytes() == before
    assert load(point.path).sha256 == load(folder / point.path).sha256 == point.outcome.model.sha256  # type: ignore[union-attr]


@pytest.mark.parametrize("source", ["awaited", "stream"])
def test_coroutine_functions(source: str) -> None:
    """They are named as what they are; Python has nothing to add."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with open_metric("code.py:later") as metric, pytest.raises(DataError, match="later is a coroutine function"):
            metric(DIGITS)
        with pytest.raises(DataError, match=f"{source} is a coroutine function") as caught:
            open_data(f"code.py:{source}", load("in.onnx"))
        assert "def instead of async def" in str(caught.value)
