"""Models that are pickled and copied: other processes and caches get them with all weights."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, numpy_helper

import onnxprune
from onnxprune.errors import ModelError
from onnxprune.model import LazyTensor, Model, load
from tests.model.builders import small_model

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"


def again(model: Model) -> Model:
    found: Model = pickle.loads(pickle.dumps(model))
    return found


def same(model: Model, other: Model) -> None:
    assert other.complete_proto() == model.complete_proto()
    assert (other.sha256, other.size_bytes) == (model.sha256, model.size_bytes)
    assert (other.path, other.origin, other.notes) == (model.path, model.origin, model.notes)


def test_models_of_every_origin(tmp_path: Path) -> None:
    separate = tmp_path / "separate.onnx"
    onnxprune.write(load(DIGITS), separate, external_data="always")
    loaded = load(DIGITS)
    changed = loaded.replace(loaded.complete_proto(), loaded.tensors)
    for model in (load(small_model()), loaded, changed, load(separate)):
        same(model, again(model))
        same(model, copy.deepcopy(model))
        assert copy.copy(model) is model


def test_files_are_not_needed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "separate.onnx"
    onnxprune.write(load(DIGITS), path, external_data="always")
    model = load(path)
    proto, sha256 = model.complete_proto(), model.sha256
    kept = pickle.dumps(model)
    lost = load(path)
    del model
    for file in lost.origin:
        file.unlink()
    found: Model = pickle.loads(kept)
    assert found.complete_proto() == proto and found.sha256 == sha256
    with pytest.raises(ModelError):
        pickle.dumps(lost)


def test_a_copy_has_its_own_nodes() -> None:
    model = load(DIGITS)
    other = copy.deepcopy(model)
    other.proto.graph.node[0].name = "another"
    assert model.proto.graph.node[0].name != "another" and other.tensors is model.tensors


def test_tensors() -> None:
    typed = TensorProto(name="t", data_type=TensorProto.INT64, dims=[2], int64_data=[3, 4])
    texts = LazyTensor.from_array("s", np.array(["a", "bc"], object))
    proto = small_model()
    proto.graph.initializer.append(typed)
    for tensor in (texts, LazyTensor.from_array("r", np.arange(6.0).reshape(2, 3)), load(proto).tensors["t"]):
        found: LazyTensor = pickle.loads(pickle.dumps(tensor))
        assert found.to_proto() == tensor.to_proto() and found.nbytes == tensor.nbytes
        assert np.array_equal(numpy_helper.to_array(found.to_proto()), tensor.array())


def test_results_in_memory() -> None:
    result = onnxprune.shrink(DIGITS, None, ratio=0.3)
    assert result.model is not None
    for other in (pickle.loads(pickle.dumps(result)), copy.deepcopy(result)):
        assert other.model.complete_proto() == result.model.complete_proto() and other.plan == result.plan
        assert onnxprune.verify(DIGITS, other.model).failure() is None
