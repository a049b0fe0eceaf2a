"""Sessions of onnxprune take the library by themselves, for functions that onnxprune wrote and for no others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper

import onnxprune
from onnxprune import native
from onnxprune.capture.operators import Operators, operators_of, remark
from onnxprune.capture.session import open_session
from onnxprune.measure.timing import timed_session
from onnxprune.model.load import Model, load
from onnxprune.model.save import write
from onnxprune.native.marks import is_marked, mark
from onnxprune.report import bench as text
from onnxprune.report.bench_document import bench as document
from onnxprune.report.render import plain
from onnxprune.results.providers import Provider, installed
from onnxprune.sparse import Mask, parse_pattern, rewrite
from tests.sparse.layers import GRID, TOLERANCE, error
from tests.sparse.sessions import needs_library, pair, session

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"
SPARSE = ("stage1.conv1.conv", "stage1.conv2.conv")


def digits() -> Model:
    """The example model with two sparse layers."""
    model = load(DIGITS)
    masks = {}
    for name in SPARSE:
        weight = model.tensors[f"{name}.weight"].array()
        size = np.abs(weight).reshape(len(weight) // 4, 4, -1).sum(axis=1)
        keep = np.repeat(size > np.quantile(size, 0.8), 4, axis=0).reshape(weight.shape)
        masks[f"{name}.weight"] = Mask(keep, parse_pattern("4x1"))
    done = rewrite(model, masks)
    assert set(done.operators) == set(SPARSE)
    return done.model


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sparse") / "sparse.onnx"
    write(digits(), path)
    return path


def negated(model: ModelProto) -> ModelProto:
    """With functions that give the negative result, their marks left as they are: only kernels still give the right."""
    found = ModelProto()
    found.CopyFrom(model)
    for function in found.functions:
        function.node[-1].output[0] = "right"
        function.node.append(helper.make_node("Neg", ["right"], ["y"]))
    return found


def test_a_file_is_known_from_its_path_and_its_content(sparse: Path, tmp_path: Path) -> None:
    expected = Operators.FALLBACK if native.problem() else Operators.LIBRARY
    assert operators_of(sparse) is operators_of(load(sparse).proto) is expected
    copy = tmp_path / "copy.onnx"
    onnx.save(onnx.load(sparse), copy)  # written by others, unchanged
    assert operators_of(copy) is expected
    assert operators_of(DIGITS) is Operators.NONE
    (tmp_path / "text.onnx").write_text("no model")
    assert operators_of(tmp_path / "text.onnx") is operators_of(tmp_path / "missing.onnx") is Operators.NONE


@needs_library
def test_other_providers_leave_the_kernels_to_the_cpu() -> None:
    case = GRID["three"]
    model, dense = pair(case)
    feed, expected = case.feed(), session(dense, library=False).run(None, case.feed())[0]
    (function,) = model.functions  # of which the kernel takes no notice
    function.ClearField("node")
    function.node.extend(negated(pair(case)[0]).functions[0].node)
    del function.metadata_props[:]
    mark(function)
    for name in installed():
        assert error(open_session(model, Provider(name)).run(None, feed)[0], expected) <= TOLERANCE


@needs_library
@pytest.mark.parametrize("opened", [open_session, timed_session])
def test_sessions_take_the_kernels(opened: object, tmp_path: Path) -> None:
    case = GRID["three"]
    model, dense = pair(case)
    assert callable(opened)
    feed, expected = case.feed(), session(dense, library=False).run(None, case.feed())[0]
    assert error(opened(model).run(None, feed)[0], expected) <= TOLERANCE
    path = tmp_path / "sparse.onnx"
    onnx.save(model, path)
    assert error(opened(path).run(None, feed)[0], expected) <= TOLERANCE
    (function,) = model.functions  # what a kernel computes does not hang on the function: so it is that of the kernel
    function.ClearField("node")
    function.node.extend(negated(pair(case)[0]).functions[0].node)
    del function.metadata_props[:]
    mark(function)
    assert error(opened(model).run(None, feed)[0], expected) <= TOLERANCE


def test_functions_that_others_wrote_run_as_they_are(tmp_path: Path) -> None:
    case = GRID["three"]
    model, dense = pair(case)
    changed = negated(model)
    assert is_marked(model.functions[0]) and not is_marked(changed.functions[0])
    assert operators_of(changed) is Operators.FOREIGN
    feed, expected = case.feed(), session(dense, library=False).run(None, case.feed())[0]
    path = tmp_path / "changed.onnx"
    onnx.save(changed, path)
    for opened in (open_session(changed), open_session(path), timed_session(path)):
        assert error(opened.run(None, feed)[0], -expected) <= TOLERANCE
    assert "did not write" in str(remark("changed.onnx", path))


@needs_library
def test_bench_runs_the_library_and_says_so(sparse: Path) -> None:
    result = onnxprune.bench(DIGITS, sparse, runs=6, threads=1, profile=True)
    operators = {one.operator: one.kernels for one in result.profiles[1].operators}
    assert sum(count for name, count in operators.items() if name.startswith("SparseConv")) == len(SPARSE)
    reasons = {change.layer: change.reason for change in result.profile_comparisons[0].changes}
    assert all(reasons[name] is None or "runs as SparseConv" in str(reasons[name]) for name in SPARSE)
    (note,) = [note for note in result.notes if "sparse operators" in note]
    assert str(native.instruction_set()) in note and note.startswith("sparse.onnx")
    assert f"note: {note}" in plain(text.bench_report(result)) and note in document(result)["notes"]


def test_without_the_library_the_functions_run_and_the_report_says_so(
    sparse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(native, "_LIBRARY", tmp_path / "not-built.so")
    assert operators_of(sparse) is Operators.FALLBACK
    result = onnxprune.bench(sparse, runs=2, threads=1, profile=True)
    assert {one.operator for one in result.profiles[0].operators}.isdisjoint({"SparseConv"})
    (note,) = [note for note in document(result)["notes"] if "sparse operators" in note]
    assert "dense functions" in note and "C++ compiler" in note
    assert plain(text.bench_report(result)).count("sparse operators") == 1
    shrunk = onnxprune.shrink(sparse, tmp_path / "small.onnx", ratio=0.5)
    assert shrunk.plan.removed_count > 0 and shrunk.proof is not None
    assert [note for note in shrunk.proof.notes if "dense functions" in note]
    verified = onnxprune.verify(sparse, tmp_path / "small.onnx")
    assert [note for note in verified.proof.notes if "dense functions" in note]
    checked = onnxprune.check(sparse, max_latency_ratio=1000, baseline=DIGITS, runs=2, threads=1)
    (check,) = checked.models[0].checks
    assert check.verdict == "passed" and check.reason is not None and "dense functions" in check.reason


@needs_library
def test_a_shrunk_sparse_file_is_proven_with_the_library(sparse: Path, tmp_path: Path) -> None:
    out = tmp_path / "small.onnx"
    shrunk = onnxprune.shrink(sparse, out, ratio=0.5)
    assert shrunk.plan.removed_count > 0 and shrunk.proof is not None and shrunk.proof.sensitive
    assert operators_of(out) is Operators.LIBRARY
    assert not [note for note in shrunk.proof.notes if "sparse" in note]
