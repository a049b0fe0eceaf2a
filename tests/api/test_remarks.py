"""What a result says of itself that its numbers alone would not: what it left over, and that it grew."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxprune

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"


def test_a_data_file_that_nobody_reads_any_more(tmp_path: Path) -> None:
    """It is named, and stays: a copy of the replaced model may read it."""
    out, data = tmp_path / "out.onnx", tmp_path / "out.onnx.data"
    onnxprune.shrink(DIGITS, out, ratio=0.3, repair="none", external_data="always")
    before = data.read_bytes()
    shutil.copy(out, tmp_path / "copy.onnx")
    result = onnxprune.shrink(DIGITS, out, ratio=0.3, repair="none", force=True)
    (note,) = (note for note in result.notes if "out.onnx.data" in note)
    assert "was read by the model that was replaced" in note and data.read_bytes() == before
    onnxprune.verify(DIGITS, out)
    onnxprune.verify(DIGITS, tmp_path / "copy.onnx")
    again = onnxprune.shrink(DIGITS, out, ratio=0.3, repair="none", force=True)
    assert not any("out.onnx.data" in note for note in again.notes)  # what was replaced now had no data file


def test_sparsify_says_so_too(tmp_path: Path) -> None:
    out = tmp_path / "out.onnx"
    for mode, noted in (("always", False), ("always", False), ("auto", True)):
        result = onnxprune.sparsify(
            DIGITS, out, sparsity=0.5, emit="dense-zeros", repair="none", external_data=mode, force=True
        )
        assert any("out.onnx.data" in note for note in result.notes) == noted


@pytest.mark.parametrize("there", [b"", b"no model", None])
def test_a_data_file_of_somebody_else(tmp_path: Path, there: bytes | None) -> None:
    """Nothing is said of a file that the replaced one, which need not be a model, did not read."""
    out, data = tmp_path / "out.onnx", tmp_path / "out.onnx.data"
    data.write_bytes(b"of somebody else")
    if there is not None:
        out.write_bytes(there)
    result = onnxprune.shrink(DIGITS, out, ratio=0.3, repair="none", force=True)
    assert not any("out.onnx.data" in note for note in result.notes)
    assert data.read_bytes() == b"of somebody else"


def tiny(path: Path) -> None:
    """So few weights that the record of what left takes more than they did."""
    draw = np.random.default_rng(0).standard_normal
    weights = [
        numpy_helper.from_array(draw(shape).astype(np.float32), name) for name, shape in (("a", (4, 8)), ("b", (8, 2)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "b"], ["y"]),
    ]
    value = helper.make_tensor_value_info
    ends = [value("x", TensorProto.FLOAT, ["N", 4])], [value("y", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "g", *ends, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def test_a_result_that_is_larger_says_why(tmp_path: Path) -> None:
    tiny(tmp_path / "in.onnx")
    result = onnxprune.shrink(tmp_path / "in.onnx", ratio=0.5, multiple_of=1)
    assert result.after is not None and result.after.size_bytes > result.before.size_bytes
    (note,) = (note for note in result.notes if "larger than the original" in note)
    assert f"the plan in its metadata ({len(result.plan.dumps())} B)" in note
    zeros = onnxprune.sparsify(tmp_path / "in.onnx", sparsity=0.5, emit="dense-zeros")
    assert any("larger than the original" in note for note in zeros.notes)


def test_a_result_that_is_smaller_needs_no_remark(tmp_path: Path) -> None:
    result = onnxprune.shrink(DIGITS, tmp_path / "out.onnx", ratio=0.5)
    assert not any("larger" in note for note in result.notes)
