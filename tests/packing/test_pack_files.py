"""The files of packed models: data files come back as they were, and nothing is replaced unasked."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from pack_models import model_of, network, round_trip, saved, tensors, value

from onnxprune import pack, unpack
from onnxprune.errors import ModelError, OutputError
from onnxprune.model import load


def test_external_data_comes_back_in_its_files(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    split = network(channels=32, hidden=300)
    onnx.save(split, path, save_as_external_data=True, location="weights.bin", size_threshold=100)
    (tmp_path / "weights.bin").write_bytes((tmp_path / "weights.bin").read_bytes() + b"unused tail")
    for weights in ("exact", "shared"):
        result, out = round_trip(path, weights=weights)
        assert out.read_bytes() == path.read_bytes()
        same = (out.parent / "weights.bin").read_bytes() == (tmp_path / "weights.bin").read_bytes()
        assert same == result.lossless == (weights == "exact")
        assert load(out).sha256 == result.unpacked_sha256 and load(path).sha256 == result.sha256
    inline, alone = round_trip(saved(tmp_path, network(channels=32, hidden=300), "inline.onnx"))
    for name, array in tensors(alone).items():
        np.testing.assert_array_equal(load(out).tensors[name].array(), array)
    assert {t.name: t.error for t in inline.tensors} == {t.name: t.error for t in result.tensors}


def test_tied_external_data(tmp_path: Path) -> None:
    """Two initializers with the same bytes of a data file, one of them no weight: both stay."""
    weight = np.random.default_rng(0).standard_normal((20, 20)).astype(np.float32)
    for reader, how in (("MatMul", "shared"), ("Add", "exact")):
        nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(reader, ["h", "v"], ["y"])]
        tied = [numpy_helper.from_array(weight, name) for name in "wv"]
        path = tmp_path / f"{reader}.onnx"
        onnx.save(
            model_of(nodes, [value("x", [20, 20])], *tied), path, save_as_external_data=True, location=f"{reader}.bin"
        )
        proto = onnx.load(path, load_external_data=False)
        for entry in proto.graph.initializer[1].external_data:
            if entry.key == "offset":
                entry.value = "0"
        path.write_bytes(proto.SerializeToString())
        result, out = round_trip(path)
        assert [t.how for t in result.tensors] == [how]
        found = load(out)
        np.testing.assert_array_equal(found.tensors["w"].array(), found.tensors["v"].array())


def test_data_in_other_folders_and_models_in_memory_are_written_anew(tmp_path: Path) -> None:
    proto = network(channels=32, hidden=300)
    (tmp_path / "in" / "data").mkdir(parents=True)
    path = tmp_path / "in" / "m.onnx"
    split = network(channels=32, hidden=300)
    onnx.save(split, path, save_as_external_data=True, location="data/w.bin", size_threshold=100)
    for model in (load(path), load(proto)):
        result = pack(model, tmp_path / "m.onnxpack", weights="exact", force=True)
        assert "not the same bytes" in result.notes[0] and result.lossless
        out = unpack(tmp_path / "m.onnxpack", tmp_path / "out.onnx", force=True).written
        assert onnx.load(out[0]) == proto and len(out) == 1


def test_outputs_are_never_inputs(tmp_path: Path) -> None:
    path = saved(tmp_path, network())
    with pytest.raises(OutputError, match="input"):
        pack(path, path, force=True)
    pack(path)
    with pytest.raises(OutputError, match="force=True"):
        pack(path)
    packed = tmp_path / "m.onnxpack"
    before = packed.read_bytes()
    with pytest.raises(OutputError, match="input"):
        unpack(packed, packed, force=True)
    unpack(packed)
    with pytest.raises(OutputError, match="force=True"):
        unpack(packed)
    assert packed.read_bytes() == before and sorted(os.listdir(tmp_path)) == ["m.onnx", "m.onnxpack", "m.unpacked.onnx"]


def test_data_files_are_never_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(network(), path, save_as_external_data=True, location="w.bin", size_threshold=100)
    before = (tmp_path / "w.bin").read_bytes()
    pack(path, bits=2)
    with pytest.raises(OutputError, match=r"w\.bin") as caught:
        unpack(tmp_path / "m.onnxpack")
    assert caught.value.hint is not None and caught.value.hint.startswith("Give an output in another folder")
    assert (tmp_path / "w.bin").read_bytes() == before and len(os.listdir(tmp_path)) == 3
    with pytest.raises(ModelError, match="called the same"):
        unpack(tmp_path / "m.onnxpack", tmp_path / "w.bin", force=True)
