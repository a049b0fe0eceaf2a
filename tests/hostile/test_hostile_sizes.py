"""Options at their ends, and dimensions that nobody fixed."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto, helper, numpy_helper

from onnxprune import shrink
from onnxprune.errors import UsageError
from onnxprune.model.load import load
from tests.hostile.support import cnn, info, listing, mlp, model_of, run, save, shrunk, weights


# ---- options ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ratio", [1.0, 1.5, -1.0, -1e-9, math.nan, math.inf, -math.inf])
def test_ratios_that_cannot_be_meant(tmp_path: Path, ratio: float) -> None:
    with pytest.raises(UsageError, match="ratio"):
        shrink(save(tmp_path, cnn()), tmp_path / "out.onnx", ratio=ratio)
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_ratio_0_removes_and_writes_nothing(tmp_path: Path) -> None:
    result = shrink(save(tmp_path, cnn()), tmp_path / "out.onnx", ratio=0.0)
    assert result.written == () and list(listing(tmp_path)) == ["m.onnx"]


@pytest.mark.parametrize("scope", ["local", "global"])
def test_ratio_0_999_leaves_one_channel(tmp_path: Path, scope: str) -> None:
    result, small = shrunk(tmp_path, cnn(), ratio=0.999, scope=scope)
    assert small.tensors["w1"].shape == (1, 3, 3, 3)
    assert result.plan.removed_count == 7


@pytest.mark.parametrize(("multiple", "left"), [(1, 5), (2, 6), (4, 4), (3, 6), (8, 8), (9, 8), (10**9, 8)])
def test_multiples(tmp_path: Path, multiple: int, left: int) -> None:
    """The width left is a multiple; a layer that is narrower than one stays whole, and says so."""
    result = shrink(save(tmp_path, cnn()), ratio=0.4, multiple_of=multiple, dry_run=True)
    group = next(g for g in result.groups if g.name == "first")
    assert group.size - group.removed == left
    if left == 8:
        assert group.reason


@pytest.mark.parametrize("options", [{"multiple_of": 0}, {"multiple_of": -4}, {"min_keep": -1}, {"min_keep": "x"}])
def test_other_options_that_cannot_be_meant(tmp_path: Path, options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        shrink(save(tmp_path, cnn()), tmp_path / "out.onnx", **options)  # type: ignore[arg-type]


def test_min_keep_above_the_width(tmp_path: Path) -> None:
    result = shrink(save(tmp_path, cnn()), tmp_path / "out.onnx", ratio=0.5, min_keep=1000)
    assert result.written == ()


def test_one_channel_cannot_lose_any(tmp_path: Path) -> None:
    result = shrink(save(tmp_path, cnn(1)), tmp_path / "out.onnx", ratio=0.9)
    assert result.written == ()


# ---- dimensions ------------------------------------------------------------------------------------------------
def dims(proto: ModelProto, *shape: int | str | None) -> ModelProto:
    proto.graph.input[0].CopyFrom(info(proto.graph.input[0].name, shape))
    proto.graph.output[0].CopyFrom(info(proto.graph.output[0].name, [shape[0], None, None, None]))
    return proto


@pytest.mark.parametrize(
    "shape",
    [
        ("N", 3, "H", "W"),
        ("N", 3, "S", "S"),
        ("S", 3, "S", "S"),
        (None, 3, None, None),
        ("", 3, "", ""),
        ("N", 3, 6, "W"),
        ("batch size * 2", 3, "floor(H/2)", "\u00e4"),
    ],
    ids=str,
)
def test_symbolic_dimensions(tmp_path: Path, shape: tuple[int | str | None, ...]) -> None:
    """Several sizes are proven; the symbols stay what they are."""
    result, small = shrunk(tmp_path, dims(cnn(), *shape))
    assert result.proof is not None and len(result.proof.cases) >= 3
    assert small.proto.graph.input == load(tmp_path / "m.onnx").proto.graph.input
    for size in (5, 9):
        feed = {"x": weights(size if shape[0] == "S" else 1, 3, 6 if shape[2] == 6 else size, size)}
        assert run(small, feed)[0].shape[1] == 4


def test_channels_that_the_file_does_not_number(tmp_path: Path) -> None:
    """Only one size fits the weights: that is found."""
    proto = mlp([helper.make_node("Relu", ["a"], ["b"])])
    proto.graph.input[0].CopyFrom(info("x", ["N", "C"]))
    result, small = shrunk(tmp_path, proto)
    assert {g.name: g.removed for g in result.groups if g.removed} == {"up": 4}
    assert small.proto.graph.input[0] == proto.graph.input[0]


def sequence(batch: int | str | None, length: int | str | None, target: list[int]) -> ModelProto:
    """(N, T, 4) -> MatMul -> Reshape to (N, T, 2, 4) by a literal -> Transpose -> back -> MatMul."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["a"], name="up"),
        helper.make_node("Reshape", ["a", "apart"], ["b"]),
        helper.make_node("Transpose", ["b"], ["c"], perm=[0, 1, 3, 2]),
        helper.make_node("Reshape", ["c", "joined"], ["d"]),
        helper.make_node("MatMul", ["d", "down"], ["y"], name="down"),
    ]
    tensors = {"up": weights(4, 8), "down": weights(8, 3)}
    tensors |= {"apart": np.array([*target, 2, 4], np.int64), "joined": np.array([*target, 8], np.int64)}
    return model_of(nodes, [info("x", [batch, length, 4])], [info("y", [batch, length, 3])], tensors)


@pytest.mark.parametrize(
    ("batch", "length", "target"),
    [("N", "T", [0, 0]), ("N", 5, [-1, 5]), (2, "T", [2, -1]), (None, 5, [0, 5]), ("S", "S", [0, 0]), (2, 5, [2, 5])],
)
def test_symbolic_sequences(
    tmp_path: Path, batch: int | str | None, length: int | str | None, target: list[int]
) -> None:
    result, _ = shrunk(tmp_path, sequence(batch, length, target))
    assert result.plan.removed_count > 0


@pytest.mark.parametrize("hard", [1, 2, 3])
def test_batch_hard_coded_in_a_reshape(tmp_path: Path, hard: int) -> None:
    """The file says N, but only one N runs. The sizes that the original does not accept are not counted."""
    proto = sequence("N", 5, [hard, 5])
    path = save(tmp_path, proto)
    result = shrink(path, tmp_path / "small.onnx", threads=1)
    assert result.proof is not None and result.proof.compared_elements > 0
    feed = {"x": weights(hard, 5, 4)}
    assert run(tmp_path / "small.onnx", feed)[0].shape == (hard, 5, 3)


@pytest.mark.parametrize(("target", "width"), [([3, 8], 8), ([2, -1], 12), ([4, 12], 12)])
def test_reshape_that_fits_one_batch_only(tmp_path: Path, target: list[int], width: int) -> None:
    """The batch moves into the channels, or the other way: such an axis stays, and nothing falls over."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["a"], name="up"),
        helper.make_node("Reshape", ["a", "target"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"], name="down"),
    ]
    tensors = {"up": weights(4, 6), "target": np.array(target, np.int64), "down": weights(width, 3)}
    proto = model_of(nodes, [info("x", ["N", 4])], [info("y", [None, 3])], tensors)
    assert shrink(save(tmp_path, proto), tmp_path / "out.onnx", threads=1).written == ()


def test_batch_hard_coded_through_the_channels(tmp_path: Path) -> None:
    """Reshape to (1, -1): the batch ends up among the channels when it is larger than one."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Reshape", ["a", "flat"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"], name="down"),
    ]
    tensors = {"w": weights(6, 3, 1, 1), "flat": np.array([1, -1], np.int64), "down": weights(24, 3)}
    proto = model_of(nodes, [info("x", ["N", 3, 2, 2])], [info("y", [1, 3])], tensors)
    result, small = shrunk(tmp_path, proto)
    assert result.proof is not None and result.proof.skipped_cases
    assert small.tensors["down"].shape == (12, 3)


def test_sizes_computed_by_the_graph(tmp_path: Path) -> None:
    """Shape -> Gather -> Concat -> Reshape, as exporters write a dynamic flatten."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="conv"),
        helper.make_node("Shape", ["a"], ["shape"]),
        helper.make_node("Slice", ["shape", "zero", "one"], ["n"]),
        helper.make_node("Slice", ["shape", "one", "four"], ["rest"]),
        helper.make_node("ReduceProd", ["rest"], ["size"], keepdims=1),
        helper.make_node("Concat", ["n", "size"], ["target"], axis=0),
        helper.make_node("Reshape", ["a", "target"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"], name="down"),
    ]
    tensors = {"w": weights(6, 3, 1, 1), "down": weights(24, 3)}
    tensors |= {n: np.array([v], np.int64) for n, v in (("zero", 0), ("one", 1), ("four", 4))}
    proto = model_of(nodes, [info("x", ["N", 3, 2, 2])], [info("y", ["N", 3])], tensors)
    result, small = shrunk(tmp_path, proto)
    assert result.proof is not None and not result.proof.skipped_cases
    assert small.tensors["w"].shape == (3, 3, 1, 1)
    assert run(small, {"x": weights(3, 3, 2, 2)})[0].shape == (3, 3)


def test_a_size_used_as_data_is_frozen(tmp_path: Path) -> None:
    """A mean written as Sum / Size: the divisor is part of what was trained and keeps its value."""
    nodes = [
        helper.make_node("MatMul", ["x", "up"], ["a"], name="up"),
        helper.make_node("Shape", ["a"], ["shape"], start=1, end=2),
        helper.make_node("Cast", ["shape"], ["width"], to=1),
        helper.make_node("Div", ["a", "width"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"], name="down"),
    ]
    proto = model_of(nodes, [info("x", ["N", 4])], [info("y", ["N", 3])], {"up": weights(4, 8), "down": weights(8, 3)})
    _, small = shrunk(tmp_path, proto, repair="none")
    weight = numpy_helper.to_array(small.complete_proto().graph.initializer[0])
    x = weights(2, 4, seed=3)
    down = small.tensors["down"].array()
    np.testing.assert_allclose(run(small, {"x": x})[0], x @ weight / 8 @ down, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75, 0.9])
def test_no_part_of_a_split_is_emptied(tmp_path: Path, ratio: float) -> None:
    """The weakest channels are exactly those of one part. Operators on nothing have no agreed meaning: ONNX Runtime
    runs some of them for ever.
    """
    weight = weights(12, 3, 1, 1)
    weight[:3] *= 1e-3
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], name="first"),
        helper.make_node("Split", ["a", "parts"], ["weak", "strong"], axis=1, name="split"),
        helper.make_node("Sigmoid", ["weak"], ["gate"]),
        helper.make_node("ReduceMax", ["gate", "channels"], ["most"], keepdims=1),
        helper.make_node("Concat", ["weak", "strong"], ["both"], axis=1),
        helper.make_node("Mul", ["both", "most"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["y"], name="last"),
    ]
    tensors = {"w": weight, "w2": weights(2, 12, 1, 1), "parts": np.array([3, 9]), "channels": np.array([1])}
    proto = model_of(nodes, [info("x", ["N", 3, 4, 4])], [info("y", ["N", 2, 4, 4])], tensors)
    result = shrink(save(tmp_path, proto), tmp_path / "small.onnx", ratio=ratio, repair="none", threads=1)
    if result.written:
        small = load(tmp_path / "small.onnx")
        assert all(0 not in tensor.shape for tensor in small.tensors.values())
        assert small.tensors["w"].shape[0] > 1
