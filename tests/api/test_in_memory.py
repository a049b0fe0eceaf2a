"""Results without a file: `out=None`."""

from __future__ import annotations

import html
import os
import shlex
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import onnxprune
from onnxprune.errors import UsageError
from onnxprune.model.load import Model, load
from tests.builders import Net
from tests.small import small_network

pytestmark = pytest.mark.usefixtures("brief")
DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"
CALIBRATION = DIGITS.with_name("digits_calib.npz")


def network() -> Model:
    """Never in a file."""
    net = Net(17, seed=2)
    net.output(net.conv(net.relu(net.conv(net.input(3, 8, 8), 24, name="a")), 4, name="z"))
    return load(net.model())


@pytest.fixture(autouse=True)
def nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Neither in the working directory nor beside the model, nor is anything left in the temporary folder."""
    folder, temporary = tmp_path / "work", tmp_path / "temporary"
    folder.mkdir()
    temporary.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    beside = set(os.listdir(DIGITS.parent))
    yield
    assert os.listdir(folder) == [] == os.listdir(temporary) and set(os.listdir(DIGITS.parent)) == beside


def same(model: Model, written: Path) -> bool:
    """Whether a model in memory is what the file holds, to the byte."""
    other = written.with_name("other.onnx")
    onnxprune.write(model, other)
    return other.read_bytes() == written.read_bytes()


@pytest.mark.parametrize("how", [{}, {"data": CALIBRATION, "samples": 64}], ids=["merge", "reconstruct"])
def test_shrink_a_file(how: dict[str, Any], tmp_path: Path) -> None:
    source = small_network(tmp_path / "small.onnx") if how else DIGITS
    result = onnxprune.shrink(source, None, ratio=0.3, bench=True, **how)
    assert result.written == () and isinstance(result.model, Model) and result.after is not None
    assert result.proof is not None and result.repair is not None and result.timing is not None
    assert (result.fidelity is not None) == bool(how)
    assert "in memory" in repr(result) and result.failure() is None
    kept = onnxprune.shrink(source, tmp_path / "o.onnx", ratio=0.3, **how)
    assert kept.model is None and kept.after is not None
    assert same(result.model, tmp_path / "o.onnx") and result.after.sha256 == kept.after.sha256


def test_shrink_a_model() -> None:
    result = onnxprune.shrink(network(), out=None, ratio=0.5)
    assert result.model is not None and result.model.path is None and result.after is not None
    assert result.after.parameters < result.before.parameters
    session = onnxruntime.InferenceSession(result.model.complete_proto().SerializeToString())
    (feed,) = session.get_inputs()
    (output,) = session.run(None, {feed.name: np.ones((1, 3, 8, 8), np.float32)})
    assert output.shape[:2] == (1, 4)


def test_one_after_the_other() -> None:
    """A result is a model for the next call, and is proven against what it was made from."""
    smaller = onnxprune.shrink(DIGITS, None, ratio=0.3).model
    sparse = onnxprune.sparsify(smaller, None, sparsity=0.5, pattern="unstructured", emit="dense-zeros")
    assert sparse.model is not None and sparse.sparsity.proof is not None
    assert onnxprune.verify(DIGITS, smaller).failure() is None
    assert onnxprune.verify(smaller, sparse.model).failure() is None


@pytest.mark.parametrize("emit", ["operators", "dense-zeros"])
def test_sparsify(emit: Any, tmp_path: Path) -> None:
    given = {"sparsity": 0.8, "emit": emit}
    result = onnxprune.sparsify(DIGITS, None, **given, bench=True)
    assert result.written == () and result.after is not None and result.sparsity.proof is not None
    assert result.timing is not None
    onnxprune.sparsify(DIGITS, tmp_path / "o.onnx", **given)
    assert same(result.model, tmp_path / "o.onnx")
    alone = onnxprune.sparsify(network(), None, **given)
    assert alone.model is not None and alone.model.path is None


def test_shrink_then_zeros() -> None:
    result = onnxprune.shrink(DIGITS, None, ratio=0.3, sparsity=0.5)
    assert result.sparsity is not None and result.sparsity.proof is not None and result.model is not None
    assert onnxprune.verify(DIGITS, result.model).failure() is None


def test_a_metric_sees_the_result() -> None:
    seen: list[str] = []

    def size(path: str) -> float:
        seen.append(Path(path).name)
        return -float(os.path.getsize(path))

    result = onnxprune.shrink(DIGITS, None, ratio=0.3, metric=size)
    assert result.metric is not None and result.metric.after is not None and len(seen) == 2
    assert result.metric.after > result.metric.before


def test_a_dry_run_makes_no_model() -> None:
    assert onnxprune.shrink(DIGITS, None, ratio=0.3, dry_run=True).model is None
    assert onnxprune.sparsify(DIGITS, None, sparsity=0.8, dry_run=True).model is None


def test_where_nothing_leaves_the_result_is_the_original(tmp_path: Path) -> None:
    given = load(DIGITS)
    assert onnxprune.shrink(given, None, ratio=0).model is given
    for result in (
        onnxprune.shrink(DIGITS, None, ratio=0),
        onnxprune.shrink(DIGITS, None, ratio=0, sparsity=0.5, exclude=["*"]),
        onnxprune.sparsify(DIGITS, None, sparsity=0.5, exclude=["*"]),
    ):
        assert result.model.sha256 == given.sha256 and result.after is None
        assert onnxprune.diff(DIGITS, result.model).same
        with pytest.raises(onnxprune.PlanError, match="carries no plan"):
            onnxprune.verify(DIGITS, result.model)


def test_results_in_memory_have_a_name_of_their_own() -> None:
    smaller = onnxprune.shrink(DIGITS, None, ratio=0.3).model
    name = "digits.pruned.onnx (in memory)"
    assert repr(smaller).startswith(f"Model({name!r}: ")
    assert repr(onnxprune.verify(DIGITS, smaller)).startswith(f"VerifyResult({name} from digits.onnx: ")
    found = onnxprune.diff(DIGITS, smaller)
    assert (found.a.name, found.b.name) == ("digits.onnx", name)
    assert [one.name for one in onnxprune.bench(DIGITS, smaller, runs=1).models] == ["digits.onnx", name]
    again = onnxprune.sparsify(smaller, None, sparsity=0.5, emit="dense-zeros")
    assert again.before.name == name and again.model.name == "digits.pruned.sparse.onnx (in memory)"
    assert onnxprune.shrink(network(), None, ratio=0.5).model.name == "model.pruned.onnx (in memory)"


def test_a_page_lists_no_file_that_is_not_there(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnxprune.write(network(), source)
    for function, given in (
        (onnxprune.shrink, {"ratio": 0}),
        (onnxprune.sparsify, {"sparsity": 0.5, "exclude": ["*"]}),
    ):
        function(source, tmp_path / "out.onnx", report=tmp_path / "r.html", force=True, **given)
        text = (tmp_path / "r.html").read_text("utf-8")
        assert f"onnxprune {function.__name__} {source} -o" in text
        assert "onnxprune verify" not in text and "onnxprune bench" not in text
    onnxprune.bench(source, onnxprune.shrink(source, None, ratio=0.5).model, runs=1, report=tmp_path / "b.html")
    assert f"onnxprune bench {source} IN-PYTHON" in (tmp_path / "b.html").read_text("utf-8")


def test_a_page_says_how_to_do_it_again(tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    result = onnxprune.shrink(DIGITS, None, ratio=0.3, report=page)
    text = page.read_text("utf-8")
    command = f"onnxprune shrink {shlex.quote(str(DIGITS))} --ratio 0.3\n"
    assert result.model is not None and command in html.unescape(text)
    assert str(tmp_path / "temporary") not in text


def test_a_model_without_a_file_needs_a_place_or_none() -> None:
    with pytest.raises(UsageError, match="needs an output path") as caught:
        onnxprune.shrink(network(), ratio=0.5)
    assert "out=None" in str(caught.value.hint)


def test_the_default_is_beside_the_model(tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnxprune.write(network(), source)
    assert onnxprune.shrink(source, ratio=0.5).written == (tmp_path / "m.pruned.onnx",)
    assert onnxprune.shrink(source, onnxprune.BESIDE, ratio=0.5, force=True).written == (tmp_path / "m.pruned.onnx",)
    assert repr(onnxprune.BESIDE) == "BESIDE"
