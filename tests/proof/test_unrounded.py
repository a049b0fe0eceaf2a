"""Quantised networks that are compared without the rounding of what they compute."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import NodeProto, TensorProto, helper

import onnxprune
from onnxprune.cut import cut
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.proof import tolerance
from onnxprune.proof.masked import ROUNDED, prove
from onnxprune.proof.unrounded import AlwaysRounds, unrounded
from onnxprune.trace import trace_model
from tests.hostile.support import Array, info, model_of, run, save, weights

N = helper.make_node
PAIR = [N("QuantizeLinear", ["b", "s", "z"], ["q"], name="q"), N("DequantizeLinear", ["q", "s", "z"], ["d"], name="d")]
PER_TENSOR = {"s": np.float32(0.5), "z": np.uint8(4)}


def network(folder: Path, pair: list[NodeProto], tensors: Mapping[str, Array | np.generic], **output: int) -> Path:
    """x (N, 4) -> up (8) -> Relu -> a quantiser -> down (3); `output`: another one, by name, and its type."""
    nodes = [
        N("Gemm", ["x", "up"], ["a"], name="up", transB=1),
        N("Relu", ["a"], ["b"], name="b"),
        *pair,
        N("MatMul", ["d", "down"], ["y"], name="down"),
    ]
    outputs = [info("y", ["N", 3]), *(info(name, ["N", 8], dtype) for name, dtype in output.items())]
    constants = {"up": weights(8, 4), "down": weights(8, 3), **{k: np.asarray(v) for k, v in tensors.items()}}
    return save(folder, model_of(nodes, [info("x", ["N", 4])], outputs, constants))


@pytest.mark.parametrize(
    "tensors",
    [PER_TENSOR, {"s": np.linspace(0.01, 0.08, 8).astype(np.float32), "z": np.arange(-4, 4).astype(np.int8)}],
    ids=["per tensor", "per axis"],
)
def test_values_are_clipped_and_not_rounded(tmp_path: Path, tensors: Mapping[str, Array]) -> None:
    path = network(tmp_path, PAIR, tensors)
    model = load(path)
    smooth = unrounded(model, trace_model(load(path)).facts)
    assert {n.op_type for n in smooth.proto.graph.node} == {"Gemm", "Relu", "Max", "Min", "Add", "MatMul"}
    x = weights(50, 4, seed=3) * 400
    hidden = np.maximum(x @ model.tensors["up"].array().T, 0)
    scale, zero = (np.asarray(tensors[k]) for k in ("s", "z"))
    bounds = np.iinfo(zero.dtype)
    low, high = ((bound - zero.astype(np.float64)) * scale for bound in (bounds.min, bounds.max))
    assert (hidden > high).any() and (hidden < high).any()
    expected = (np.clip(hidden, low, high) + scale) @ model.tensors["down"].array()
    np.testing.assert_allclose(run(smooth, {"x": x})[0], expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("tensors", "wrong"),
    [
        ({"s": np.float32([0.02] * 4 + [3] * 4), "z": np.zeros(8, np.uint8)}, np.full(4, 3, np.float32)),
        ({"s": np.float32(0.05), "z": np.uint8(0)}, np.float32(0.3)),
        ({"s": np.float32(0.05), "z": np.uint8(0)}, np.float32(500)),
    ],
    ids=["those of the removed channels", "larger", "much larger"],
)
def test_a_wrong_scale_is_seen_where_nothing_is_clipped(
    tmp_path: Path, tensors: Mapping[str, Array], wrong: Array
) -> None:
    trace = trace_model(load(network(tmp_path, PAIR, tensors)))
    (group,) = trace.prunable
    keep = np.ones(trace.unit_count, bool)
    keep[group.units[4:]] = False
    smaller, path = cut(trace, keep), tmp_path / "small.onnx"
    write(smaller, path)
    assert prove(trace, keep, path, threads=1).worst == 0
    scale = smaller.tensors["s"].with_array(np.asarray(wrong))
    write(smaller.replace(smaller.proto, {**smaller.tensors, "s": scale}), tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match="differs by"):
        prove(trace, keep, tmp_path / "wrong.onnx", threads=1)


def other(**changed: object) -> list[NodeProto]:
    """The pair, whose second node has other inputs."""
    return [PAIR[0], N("DequantizeLinear", ["q", changed.get("s", "s"), changed.get("z", "z")], ["d"], name="d")]


DYNAMIC = [
    N("DynamicQuantizeLinear", ["b"], ["q", "s", "z"], name="q"),
    N("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
]
COMPUTED = [N("ReduceMax", ["b"], ["s"], keepdims=0), N("Constant", [], ["z"], value_int=0)]


@pytest.mark.parametrize(
    ("pair", "tensors", "output"),
    [
        (other(s="t"), {**PER_TENSOR, "t": np.float32(0.25)}, {}),
        (DYNAMIC, {}, {"q": TensorProto.UINT8}),
        (PAIR, PER_TENSOR, {"q": TensorProto.UINT8}),
        ([N("Identity", ["b"], ["d"])], {}, {}),
        ([COMPUTED[0], *PAIR], {"z": np.uint8(0)}, {}),
        (other(s="t"), {**PER_TENSOR, "t": np.float16(0.5)}, {}),
    ],
    ids=["another scale", "dynamic, an output", "an output", "none", "a computed scale", "a scale of another type"],
)
def test_what_cannot_be_taken_out_is_refused(
    tmp_path: Path, pair: list[NodeProto], tensors: Mapping[str, Array], output: dict[str, int]
) -> None:
    path = network(tmp_path, pair, tensors, **output)
    with pytest.raises(AlwaysRounds):
        unrounded(load(path), trace_model(load(path)).facts)


def test_an_equal_scale_of_another_name_will_do(tmp_path: Path) -> None:
    path = network(tmp_path, other(s="t"), {**PER_TENSOR, "t": PER_TENSOR["s"]})
    assert "Max" in {n.op_type for n in unrounded(load(path), trace_model(load(path)).facts).proto.graph.node}


def test_where_rounding_hides_it_the_network_is_compared_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if single steps had become many: nothing is close enough with rounding. What is wrong still is."""
    monkeypatch.setattr(tolerance, "QUANTISED", -1.0)
    path = network(tmp_path, PAIR, PER_TENSOR)
    result = onnxprune.shrink(path, tmp_path / "small.onnx", ratio=0.5, repair="none", threads=1)
    assert result.proof is not None and result.proof.worst_relative <= result.proof.tolerance_relative < 1e-3
    assert any(note.startswith(ROUNDED) for note in result.proof.notes)
    trace = trace_model(load(path))
    (group,) = trace.prunable
    keep = np.ones(trace.unit_count, bool)
    keep[group.units[:4]] = False
    other_half = np.ones(trace.unit_count, bool)
    other_half[group.units[4:]] = False
    write(cut(trace, other_half), tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match="differs by"):
        prove(trace, keep, tmp_path / "wrong.onnx", threads=1)


def test_a_network_that_always_rounds_says_how_it_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tolerance, "QUANTISED", -1.0)
    path = network(tmp_path, other(s="t"), {**PER_TENSOR, "t": np.float32(0.25)})
    with pytest.raises(VerificationError, match="differs by"):
        onnxprune.shrink(path, tmp_path / "small.onnx", ratio=0.5, repair="none", threads=1)
    assert not (tmp_path / "small.onnx").exists()
