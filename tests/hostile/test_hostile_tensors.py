"""Weights that try: not numbers, too small, too equal, too large, of odd types and sizes."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from onnxprune import inspect, shrink, why
from onnxprune.choose.score import criteria
from onnxprune.choose.score.registry import Needs
from onnxprune.errors import ModelError, OnnxPruneError
from onnxprune.model.load import load
from onnxprune.trace.ops.context import OVERRIDABLE
from tests.hostile.support import Array, cnn, info, listing, mlp, model_of, save, shrunk, weights

CRITERIA = [c.name for c in criteria() if c.needs is Needs.WEIGHTS]


def with_weight(array: Array, name: str = "w1") -> ModelProto:
    proto = cnn()
    for tensor in proto.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(numpy_helper.from_array(array, name))
    return proto


def initial(name: str = "w1") -> Array:
    return next(numpy_helper.to_array(t).copy() for t in cnn().graph.initializer if t.name == name)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_numbers_cannot_be_ranked(tmp_path: Path, value: float) -> None:
    array = initial()
    array[2, 0, 1, 1] = value
    path = save(tmp_path, with_weight(array))
    assert inspect(path).removable == 8
    for criterion in CRITERIA:
        if criterion == "random":
            continue
        with pytest.raises(ModelError, match="'first'"):
            shrink(path, tmp_path / "out.onnx", criterion=criterion)
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_nan_behind_the_cut_does_not_prove_anything(tmp_path: Path) -> None:
    """All outputs NaN: equal to anything. That is no proof."""
    array = initial("w2")
    array[:] = np.nan
    with pytest.raises(OnnxPruneError) as error:
        shrink(save(tmp_path, with_weight(array, "w2")), tmp_path / "out.onnx", threads=1)
    assert error.value.exit_code in (3, 4)
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_denormals(tmp_path: Path) -> None:
    array = (initial() * 1e-41).astype(np.float32)
    result, _ = shrunk(tmp_path, with_weight(array))
    assert result.reached_ratio == 0.5


@pytest.mark.parametrize("criterion", CRITERIA)
def test_all_zero_filters(tmp_path: Path, criterion: str) -> None:
    """Every filter zero: no score is better than another, and still half of them can go."""
    path = save(tmp_path, with_weight(np.zeros_like(initial())))
    result = shrink(path, tmp_path / "out.onnx", criterion=criterion, dry_run=True)
    assert [g.removed for g in result.groups if g.removed] == [4]


@pytest.mark.parametrize("criterion", CRITERIA)
def test_identical_filters(tmp_path: Path, criterion: str) -> None:
    """Ties go to the lowest index: the first ones stay."""
    array: Array = np.broadcast_to(initial()[:1], (8, 3, 3, 3)).copy()
    path = save(tmp_path, with_weight(array))
    result = shrink(path, tmp_path / "out.onnx", criterion=criterion, dry_run=True)
    assert [len(g.removed) for g in result.plan.groups] == [4]
    if criterion != "random":
        again = shrink(path, tmp_path / "out.onnx", criterion=criterion, dry_run=True)
        assert again.plan.groups == result.plan.groups


@pytest.mark.parametrize("criterion", CRITERIA)
def test_one_huge_outlier(tmp_path: Path, criterion: str) -> None:
    """3e38 squared is beyond float64's business too: no overflow, no traceback, a plan or a clear refusal."""
    array = initial()
    array[5, 0, 0, 0] = 3e38
    path = save(tmp_path, with_weight(array))
    result = shrink(path, tmp_path / "out.onnx", criterion=criterion, dry_run=True)
    if criterion in ("l1", "l2", "geometric-median"):
        assert all(5 not in g.removed for g in result.plan.groups)


def half(dtype: int, kind: type) -> ModelProto:
    """The CNN in a sixteen-bit type."""
    proto = cnn()
    for tensor in proto.graph.initializer:
        array: Array = numpy_helper.to_array(tensor).astype(kind)
        raw = TensorProto(name=tensor.name, data_type=dtype, dims=array.shape, raw_data=array.tobytes())
        tensor.CopyFrom(raw)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.elem_type = dtype
    return proto


def test_float16(tmp_path: Path) -> None:
    result, small = shrunk(tmp_path, half(TensorProto.FLOAT16, np.float16))
    assert result.reached_ratio == 0.5
    assert {t.dtype for t in small.tensors.values()} == {TensorProto.FLOAT16}


def test_bfloat16(tmp_path: Path) -> None:
    """ONNX Runtime on a CPU does not run it: it is planned, and refused with that as the reason."""
    path = save(tmp_path, half(TensorProto.BFLOAT16, ml_dtypes.bfloat16))
    assert shrink(path, dry_run=True).plan.removed_count == 4
    with pytest.raises(ModelError, match="ONNX Runtime cannot"):
        shrink(path, tmp_path / "out.onnx", threads=1)
    assert list(listing(tmp_path)) == ["m.onnx"]


def test_strings_and_sequences_of_characters(tmp_path: Path) -> None:
    """A string input and a string constant beside a network."""
    proto = mlp([helper.make_node("Relu", ["a"], ["b"])])
    proto.graph.input.append(info("s", ["N"], TensorProto.STRING))
    proto.graph.output.append(info("same", ["N"], TensorProto.BOOL))
    proto.graph.node.append(helper.make_node("Equal", ["s", "word"], ["same"]))
    proto.graph.initializer.append(
        TensorProto(name="word", data_type=TensorProto.STRING, dims=[1], string_data=[b"text"])
    )
    result, small = shrunk(tmp_path, proto)
    assert result.reached_ratio == 0.5
    assert small.proto.graph.initializer[-1].name == "word"


def test_zero_sized_tensors(tmp_path: Path) -> None:
    """An empty part in a Concat, an empty initializer that nobody reads, and a layer without outputs."""
    nodes = [helper.make_node("Concat", ["a", "none"], ["b"], axis=1)]
    proto = mlp(nodes)
    proto.graph.node.insert(0, helper.make_node("MatMul", ["x", "empty.w"], ["none"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((4, 0), np.float32), "empty.w"))
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros((0,), np.float32), "unused"))
    result, _ = shrunk(tmp_path, proto)
    assert result.plan.removed_count == 4


def test_layer_with_empty_weight(tmp_path: Path) -> None:
    """A convolution over no channels is refused by its rule, not by a traceback."""
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="void")
    proto = model_of([node], [info("x", [1, 0, 4, 4])], [info("y", None)], {"w": np.zeros((2, 0, 1, 1), np.float32)})
    inspect(save(tmp_path, proto))


def test_initializers_as_inputs_may_be_overridden(tmp_path: Path) -> None:
    proto = cnn()
    proto.graph.input.append(info("w1", [8, 3, 3, 3]))
    assert inspect(save(tmp_path, proto)).removable == 0
    found = inspect(save(tmp_path, proto))
    assert {g.name for g in found.groups if g.pinned == OVERRIDABLE} == {"first"}
    assert found.model.parameters == inspect(save(tmp_path, cnn())).model.parameters  # stored all the same
    said = {g.name: g.pinned for g in why(save(tmp_path, proto), "first")}
    assert "keep_initializers_as_inputs=False" in (said["first"] or "")


def test_old_files_list_all_weights_as_inputs(tmp_path: Path) -> None:
    """Before IR version 4 every initializer had to be an input: these shrink, and so do their entries."""
    proto = cnn()
    proto.ir_version = 3
    proto.opset_import[0].version = 8
    for tensor in proto.graph.initializer:
        proto.graph.input.append(info(tensor.name, list(tensor.dims)))
    result, small = shrunk(tmp_path, proto)
    assert result.reached_ratio == 0.5
    shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in small.proto.graph.input}
    assert shapes["w1"] == [4, 3, 3, 3] and shapes["w2"] == [4, 4, 1, 1]


def test_one_weight_for_a_convolution_and_a_gemm(tmp_path: Path) -> None:
    """Tied over operators, by a Reshape of the initializer: both follow, or both stay."""
    nodes = [
        helper.make_node("Reshape", ["w", "flat"], ["w2"]),
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv"),
        helper.make_node("GlobalAveragePool", ["h"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("MatMul", ["f", "w2"], ["y"], name="back"),
    ]
    tensors = {"w": weights(8, 3, 1, 1), "flat": np.array([8, 3], np.int64)}
    proto = model_of(nodes, [info("x", ["N", 3, 4, 4])], [info("y", ["N", 3])], tensors)
    path = save(tmp_path, proto)
    result = shrink(path, tmp_path / "out.onnx", threads=1)
    if result.written:
        assert load(tmp_path / "out.onnx").tensors["w"].shape == (4, 3, 1, 1)
