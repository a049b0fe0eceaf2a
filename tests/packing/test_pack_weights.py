"""Packed weights: as few values as were asked, as near as these allow; zeros; which are left alone; fidelity."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from pack_models import matmul, model_of, network, round_trip, saved, tensors, value

from onnxprune import pack
from onnxprune.errors import GateError
from onnxprune.model import load


@pytest.mark.parametrize("clusters", ["exact", "linear"])
@pytest.mark.parametrize("bits", [4, 5, 6, 8])
def test_as_many_values_as_bits_allow(tmp_path: Path, bits: int, clusters: str) -> None:
    weight = np.random.default_rng(bits).standard_normal((90, 70)).astype(np.float32)
    path = saved(tmp_path, matmul(weight))
    result, out = round_trip(path, bits=bits, clusters=clusters)
    found = tensors(out)["w"]
    shared = np.unique(found)
    assert 2 ** (bits - 1) < len(shared) <= 2**bits
    nearest = shared[np.abs(weight[..., None] - shared).argmin(axis=-1)]
    np.testing.assert_allclose(np.abs(found - weight), np.abs(nearest - weight), atol=1e-6)
    (tensor,) = result.tensors
    assert tensor.error == pytest.approx(np.linalg.norm(found - weight) / np.linalg.norm(weight), rel=1e-5)
    # of a Gaussian, the best quantiser of b bits is off by about 1.65 * 2^-b (Panter and Dite)
    assert tensor.error < (1.75 if clusters == "exact" else 6.0) * 2.0**-bits


def test_the_best_codebook_is_better_than_a_linear_one(tmp_path: Path) -> None:
    path = saved(tmp_path, matmul(np.random.default_rng(0).standard_t(4, (200, 100)).astype(np.float32)))
    errors = {how: round_trip(path, bits=5, clusters=how)[0].tensors[0].error for how in ("exact", "linear")}
    assert errors["exact"] < 0.95 * errors["linear"]


def test_bits_of_convolutions_and_of_others(tmp_path: Path) -> None:
    path = saved(tmp_path, network(channels=32, hidden=100))
    result, _ = round_trip(path, bits="6/4")
    assert {t.name: t.entries for t in result.tensors if t.how == "shared"} == {"conv.weight": 64, "fc.weight": 16}


def test_packing_what_was_unpacked_loses_nothing_more(tmp_path: Path) -> None:
    first, out = round_trip(saved(tmp_path, network()), bits=4)
    again = out.with_name("again.onnx")
    again.write_bytes(out.read_bytes())
    for weights in ("shared", "exact", "int8"):
        result, second = round_trip(again, weights=weights)
        assert result.lossless and second.read_bytes() == again.read_bytes()
        assert result.packed_bytes <= first.packed_bytes + 20


@pytest.mark.parametrize("weights", ["shared", "int8"])
@pytest.mark.parametrize("pattern", ["single", "4x1", "rows"])
def test_zeros_stay_and_take_next_to_nothing(tmp_path: Path, weights: str, pattern: str) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((256, 200)).astype(np.float32)
    if pattern == "single":
        keep = rng.random(weight.shape) < 0.1
    elif pattern == "4x1":
        keep = np.repeat(rng.random((64, 200)) < 0.1, 4, axis=0)
    else:
        keep = np.broadcast_to(rng.random((256, 1)) < 0.1, weight.shape)
    weight = np.where(keep, weight, 0)
    result, out = round_trip(saved(tmp_path, matmul(weight)), weights=weights)
    found = tensors(out)["w"]
    assert (found[~keep] == 0).all()
    kept = int(keep.sum())
    bits = 8 * (result.parts["indices"] + result.parts["gaps"]) / kept
    per_gap = {"single": 5.2, "4x1": 1.6, "rows": 1.1}[pattern]
    assert bits < per_gap + (5.1 if weights == "shared" else 7.6)
    assert result.parts["gaps"] > 0
    (tensor,) = result.tensors
    assert tensor.zeros >= 0.88


def test_int8_is_off_by_half_a_step_at_most(tmp_path: Path) -> None:
    path = saved(tmp_path, network(channels=32))
    result, out = round_trip(path, weights="int8")
    before, after = tensors(path), tensors(out)
    for name, axes in (("conv.weight", (1, 2, 3)), ("fc.weight", (1,))):  # output channels first: Conv, and transB
        step = np.abs(before[name]).max(axis=axes, keepdims=True) / 127
        assert (np.abs(after[name] - before[name]) <= step * 0.5001).all()
        assert len(np.unique(np.rint(after[name] / step))) <= 255
    assert {t.entries for t in result.tensors if t.how == "int8"} == {32, 40}


def test_the_error_is_bounded_by_the_fewest_bits(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((100, 90)).astype(np.float32)
    path = saved(tmp_path, matmul(weight))
    entries = []
    for limit in ("20%", 0.05, "1%"):
        result, out = round_trip(path, max_error=limit)
        (tensor,) = result.tensors
        error = np.linalg.norm(tensors(out)["w"] - weight) / np.linalg.norm(weight)
        assert error <= float(str(limit).rstrip("%")) / (100 if "%" in str(limit) else 1)
        worse = round_trip(path, bits=tensor.entries.bit_length() - 2)[0].tensors[0]
        assert worse.error > error and worse.error > (0.2, 0.05, 0.01)[len(entries)]
        entries.append(tensor.entries)
    assert entries == sorted(entries) and len(set(entries)) == 3
    result, out = round_trip(path, max_error="0.01%")
    assert result.lossless and "8 bits" in str(result.tensors[0].reason)
    result, _ = round_trip(path, weights="int8", max_error="0.01%")
    assert result.lossless and "int8" in str(result.tensors[0].reason)


def test_weights_that_are_left_alone(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((60, 60)).astype(np.float32)
    odd = weight.copy()
    odd[3, 4] = np.inf
    result, _ = round_trip(saved(tmp_path, matmul(odd)))
    assert result.lossless and "finite" in str(result.tensors[0].reason)
    result, _ = round_trip(saved(tmp_path, matmul(weight)), exclude=["m*"])
    assert result.lossless and result.tensors[0].reason == "excluded"
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["h", "w"], ["y"])]
    both = model_of(nodes, [value("x", [60, 60])], numpy_helper.from_array(weight, "w"))
    result, _ = round_trip(saved(tmp_path, both))
    assert result.lossless and result.tensors[0].reason == "Add reads it, at input 1"
    given = matmul(weight)
    given.graph.output.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [60, 60]))
    result, _ = round_trip(saved(tmp_path, given))
    assert result.lossless and "graph output" in str(result.tensors[0].reason)


def test_a_table_that_is_embedding_and_matrix_keeps_the_better_bits(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["w", "ids"], ["a"]),
        helper.make_node("Transpose", ["w"], ["t"], perm=[1, 0]),
        helper.make_node("MatMul", ["a", "t"], ["y"]),
    ]
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["N"])
    result, _ = round_trip(saved(tmp_path, model_of(nodes, [ids], numpy_helper.from_array(weight, "w"))), bits=6)
    assert [(t.how, t.entries, t.kind) for t in result.tensors] == [("shared", 64, "fully connected")]


def test_weights_in_constant_nodes(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    nodes = [
        helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(weight, "any name")),
        helper.make_node("Constant", [], ["t"], value=numpy_helper.from_array(weight[:32], "any name")),
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "t"], ["y"]),
    ]
    path = saved(tmp_path, model_of(nodes, [value("x", [32, 64])]))
    result, out = round_trip(path, bits=4)
    assert [(t.name, t.how, t.shape) for t in result.tensors if t.how == "shared"] == [("w", "shared", (64, 32))]
    found = [numpy_helper.to_array(node.attribute[0].t) for node in onnx.load(out).graph.node[:2]]
    assert len(np.unique(found[0])) == 16 and np.abs(found[0] - weight).mean() < 0.1
    np.testing.assert_array_equal(found[1], weight[:32])
    exact, out = round_trip(path, weights="exact")
    assert out.read_bytes() == path.read_bytes() and exact.packed_bytes > result.packed_bytes


def test_a_table_with_constant_positions_is_no_embedding(tmp_path: Path) -> None:
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["w", "ids"], ["a"]), helper.make_node("Add", ["a", "x"], ["y"])]
    tensors = [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(np.arange(9), "ids")]
    result, _ = round_trip(saved(tmp_path, model_of(nodes, [value("x", [9, 32])], *tensors)))
    assert result.lossless and result.tensors[0].reason == "Gather reads it, at input 0"


def test_our_sparse_operators_pack_well(tmp_path: Path) -> None:
    from onnxprune.model import write
    from onnxprune.sparse import Mask, parse_pattern, rewrite

    rng = np.random.default_rng(0)
    weight = rng.standard_normal((128, 64, 3, 3)).astype(np.float32)
    keep = np.repeat(rng.random((32, 64, 3, 3)) < 0.1, 4, axis=0)
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"], "conv")]
    model = load(model_of(nodes, [value("x", [1, 64, 8, 8])], numpy_helper.from_array(weight, "w")))
    done = rewrite(model, {"w": Mask(keep, parse_pattern("4x1"))})
    path = write(done.model, tmp_path / "sparse.onnx")[0]
    result, out = round_trip(path)
    (values,) = [t for t in result.tensors if t.how == "shared"]
    assert values.kind == "convolution" and len(values.shape) == 1
    # 8 bits a weight and a gap of four weights in less than 5.5 bits
    assert result.packed_bytes < int(keep.sum()) * (8 + 1.4) / 8 + 6000
    assert load(out).tensors.keys() == load(path).tensors.keys()
    result, _ = round_trip(path, weights="int8")
    assert [(t.how, t.entries) for t in result.tensors] == [("int8", 1)]


def test_fidelity_and_the_gate(tmp_path: Path) -> None:
    path = saved(tmp_path, network())
    data = {"x": np.random.default_rng(0).standard_normal((40, 8, 6, 6)).astype(np.float32)}
    good = pack(path, data=data)
    assert good.fidelity is not None and good.fidelity.samples == 40
    poor = pack(path, data=data, bits=1, force=True)
    assert poor.fidelity is not None and good.fidelity.worst_error is not None
    assert 0 < good.fidelity.worst_error < 0.1 < (poor.fidelity.worst_error or 0)
    exact = pack(path, data=data, weights="exact", force=True)
    assert exact.fidelity is not None and exact.fidelity.worst_error == 0
    before = path.with_suffix(".onnxpack").read_bytes()

    def score(model: str) -> float:
        return -float(np.abs(tensors(Path(model))["fc.weight"] - tensors(path)["fc.weight"]).max())

    with pytest.raises(GateError, match="falls by"):
        pack(path, bits=1, metric=score, max_drop=0.01, force=True)
    assert path.with_suffix(".onnxpack").read_bytes() == before
    passed = pack(path, bits=8, metric=score, max_drop=0.5, force=True)
    assert passed.metric is not None and passed.metric.before == 0 and (passed.metric.after or 1) < 0
