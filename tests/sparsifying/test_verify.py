"""verify finds what was changed in a file with sparse weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnxprune
from onnxprune.errors import OnnxPruneError, PlanError, VerificationError
from tests.sparsifying.conftest import Made

Change = Callable[[ModelProto], None]


def tampered(made: Made, folder: Path, change: Change) -> Path:
    proto = onnx.load(made.path)
    change(proto)
    onnx.save(proto, folder / "tampered.onnx")
    return folder / "tampered.onnx"


def tensor(proto: ModelProto, name: str, edit: Callable[[np.ndarray], np.ndarray]) -> None:
    """New values for an initializer."""
    found = next(entry for entry in proto.graph.initializer if entry.name == name)
    found.CopyFrom(numpy_helper.from_array(edit(numpy_helper.to_array(found).copy()), name))


def plan(proto: ModelProto, edit: Callable[[dict], None]) -> None:
    """Another plan in the metadata."""
    entry = next(entry for entry in proto.metadata_props if entry.key == "onnxprune.plan")
    data = json.loads(entry.value)
    edit(data)
    entry.value = json.dumps(data)


def _more_blocks(proto: ModelProto) -> None:
    """One more block, beside the first one: a denser mask than was planned."""
    tensor(proto, "stage1.conv1.conv.out_values", lambda v: np.concatenate([np.ones(4, v.dtype), v]))
    gaps = next(t for t in proto.graph.initializer if t.name == "stage1.conv1.conv.out_gaps")
    array = numpy_helper.to_array(gaps).copy()
    wide = int(np.flatnonzero(array > 1)[0])
    first = array[wide] - 1
    array[wide] = 1
    gaps.CopyFrom(numpy_helper.from_array(np.insert(array, wide, first), gaps.name))


def _function(proto: ModelProto) -> None:
    entry = next(f for f in proto.functions if f.name == "SparseConv")
    next(node for node in entry.node if node.op_type == "Conv").input[2] = ""


def _attribute(proto: ModelProto) -> None:
    node = next(n for n in proto.graph.node if n.name == "stage2.conv1.conv")
    next(a for a in node.attribute if a.name == "strides").ints[:] = [1, 1]


CHANGES: dict[str, tuple[Change, str]] = {
    "a gap of nothing": (
        lambda p: tensor(
            p, "stage1.conv1.conv.out_gaps", lambda g: np.where(np.arange(g.size) == 3, 0, g).astype("u1")
        ),
        "not stored as",
    ),
    "values that are missing": (lambda p: tensor(p, "stage1.conv1.conv.out_values", lambda v: v[:-4]), "not stored as"),
    "more blocks": (_more_blocks, "not zero"),
    "an attribute": (_attribute, "not the one"),
    "a function": (_function, "functions of the domain"),
    "one initializer more": (
        lambda p: p.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "more")),
        "'more' of the file is not in its plan",
    ),
    "a smaller promise": (lambda p: plan(p, lambda d: d["sparsity"]["weights"][1].update(kept=100)), "its plan keeps"),
    "another pattern": (lambda p: plan(p, lambda d: d["sparsity"]["weights"][1].update(pattern="8x1")), "not the one"),
    "another weight": (lambda p: plan(p, lambda d: d["sparsity"]["weights"][0].update(weight="x")), "does not have"),
    "a form that is unknown": (lambda p: plan(p, lambda d: d["sparsity"].update(emit="x")), "not known"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_changes_are_found(operators: Made, tmp_path: Path, name: str) -> None:
    change, words = CHANGES[name]
    with pytest.raises(OnnxPruneError, match=words) as caught:
        onnxprune.verify(operators.original, tampered(operators, tmp_path, change))
    assert caught.value.exit_code in (3, 4)


def test_statistics_of_a_layer_that_stayed(digits: Path, tmp_path: Path) -> None:
    """Its normalisation is still there; repair may set its scales, but not what was measured in training."""
    path = tmp_path / "some.onnx"
    made = Made(digits, path, onnxprune.sparsify(digits, path, sparsity=0.8, exclude=["stem.conv"]))
    onnxprune.verify(digits, path)
    changed = tampered(made, tmp_path, lambda p: tensor(p, "stem.bn.running_mean", lambda w: w + 1))
    with pytest.raises(VerificationError, match="no repair changes those"):
        onnxprune.verify(digits, changed)


@pytest.mark.parametrize("kind", ["operators", "zeros", "initializers", "both"])
def test_what_was_written_is_verified(kind: str, request: pytest.FixtureRequest) -> None:
    made: Made = request.getfixturevalue(kind)
    found = onnxprune.verify(made.original, made.path)
    assert found.sparse is not None and found.sparse_proof is not None and made.result.sparsity is not None
    assert found.sparse.layers == len(made.result.sparsity.sparse_layers)
    assert found.sparse.nonzero == sum(layer.kept for layer in made.result.sparsity.sparse_layers)
    assert found.sparse_proof.sensitive and found.plan_digest == made.result.plan.digest
    assert (found.proof is not None) == (kind == "both")
    assert (found.refitted == ()) == (kind != "both")


def test_a_zero_that_came_back(zeros: Made, tmp_path: Path) -> None:
    def change(proto: ModelProto) -> None:
        tensor(proto, "pointwise.conv.weight", lambda w: np.where(w == 0, 1e-3, w).astype(w.dtype))

    with pytest.raises(VerificationError, match="not zero; its plan keeps"):
        onnxprune.verify(zeros.original, tampered(zeros, tmp_path, change))


def test_new_values_of_what_stays_are_listed(operators: Made, tmp_path: Path) -> None:
    """As after a repair: that is what repair does, so it is no error, but it is said."""
    path = tampered(operators, tmp_path, lambda p: tensor(p, "stage1.conv1.conv.out_values", lambda v: v * 2))
    assert onnxprune.verify(operators.original, path).refitted == ("stage1.conv1.conv.weight",)


def test_a_sparse_initializer_of_another_shape(initializers: Made, tmp_path: Path) -> None:
    def change(proto: ModelProto) -> None:
        proto.graph.sparse_initializer[0].dims[0] *= 1 << 40

    with pytest.raises(OnnxPruneError):
        onnxprune.verify(initializers.original, tampered(initializers, tmp_path, change))


def test_another_original(operators: Made, zeros: Made) -> None:
    with pytest.raises(PlanError, match="made for another model"):
        onnxprune.verify(zeros.path, operators.path)
