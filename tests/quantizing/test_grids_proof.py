"""The proof of grids: right files pass, and every single thing that is wrong is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, numpy_helper

import onnxprune
from onnxprune.errors import VerificationError
from tests.builders import Net

Change = Callable[[ModelProto], None]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A small network and its integers."""
    here = tmp_path_factory.mktemp("grids")
    net = Net()
    h = net.relu(net.bn(net.conv(net.input(4, 8, 8), 8, name="a")))
    h = net.add(h, net.conv(h, 8, name="b", group=8))
    h = net.op("Sigmoid", h)
    h = net.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    net.output(net.gemm(net.op("Flatten", net.relu(net.conv(h, 6, name="c"))), 5, name="d"))
    onnx.save(net.model(), here / "m.onnx")
    x = net.rng.standard_normal((40, 4, 8, 8)).astype(np.float32)
    np.savez(here / "x.npz", x=x)
    data = {net.inputs[0].name: x}
    result = onnxprune.quantize(here / "m.onnx", here / "q.onnx", data=data, scheme="static", repair="none")
    proof = result.quantization.proof
    assert proof is not None and proof.most_steps <= 1 and proof.integers > 10_000 and proof.moved_steps <= 0.51
    assert result.quantization.executed is not None and not result.quantization.executed.floats
    assert len(result.quantization.quantized_layers) == 4
    return here / "m.onnx", here / "q.onnx"


def test_it_is_repeated_from_the_file(files: tuple[Path, Path]) -> None:
    found = onnxprune.verify(*files)
    assert found.grids is not None and found.grids.most_steps <= 1 and not found.refitted
    assert found.failure() is None


def node(proto: ModelProto, op_type: str, number: int = 0) -> onnx.NodeProto:
    return [one for one in proto.graph.node if one.op_type == op_type][number]


def tensor(proto: ModelProto, name: str) -> onnx.TensorProto:
    return next(one for one in proto.graph.initializer if one.name == name)


def set_array(proto: ModelProto, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    old = tensor(proto, name)
    old.CopyFrom(numpy_helper.from_array(change(numpy_helper.to_array(old).copy()), name))


def times(factor: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: (array * array.dtype.type(factor)).astype(array.dtype)


def weight_quantiser(proto: ModelProto) -> onnx.NodeProto:
    stored = {one.name for one in proto.graph.initializer if one.data_type == onnx.TensorProto.INT8}
    return next(one for one in proto.graph.node if one.op_type == "DequantizeLinear" and one.input[0] in stored)


def wrong_scale(proto: ModelProto) -> None:
    set_array(proto, node(proto, "QuantizeLinear", 1).input[1], times(1.1))


def negative_scale(proto: ModelProto) -> None:
    set_array(proto, node(proto, "QuantizeLinear", 1).input[1], times(-1))


def infinite_scale(proto: ModelProto) -> None:
    set_array(
        proto, weight_quantiser(proto).input[1], lambda a: np.where(np.arange(a.size) == 0, np.inf, a).astype(a.dtype)
    )


def wrong_zero_point(proto: ModelProto) -> None:
    set_array(proto, node(proto, "QuantizeLinear", 0).input[2], lambda a: a + a.dtype.type(3))


def wrong_axis(proto: ModelProto) -> None:
    next(a for a in weight_quantiser(proto).attribute if a.name == "axis").i = 1


def swapped_ranges(proto: ModelProto) -> None:
    first, second = node(proto, "QuantizeLinear", 0), node(proto, "QuantizeLinear", 1)
    a, b = (numpy_helper.to_array(tensor(proto, one.input[1])).copy() for one in (first, second))
    set_array(proto, first.input[1], lambda _: b)
    set_array(proto, second.input[1], lambda _: a)


def wrong_weight_scale(proto: ModelProto) -> None:
    set_array(proto, weight_quantiser(proto).input[1], times(1.5))


def turned_weight(proto: ModelProto) -> None:
    """Its scales are right, its integers are those of other channels: an arbitrary weight, as after a repair."""
    name = weight_quantiser(proto).input[0]
    set_array(proto, name, lambda a: np.roll(a, 1, axis=0))


def wrong_bias_scale(proto: ModelProto) -> None:
    stored = {one.name for one in proto.graph.initializer if one.data_type == onnx.TensorProto.INT32}
    bias = next(one for one in proto.graph.node if one.op_type == "DequantizeLinear" and one.input[0] in stored)
    set_array(proto, bias.input[1], times(8))


def another_stride(proto: ModelProto) -> None:
    pool = node(proto, "MaxPool")
    next(a for a in pool.attribute if a.name == "kernel_shape").ints[:] = [1, 1]


def no_sigmoid(proto: ModelProto) -> None:
    node(proto, "Sigmoid").op_type = "Tanh"


CHANGES = [
    (wrong_scale, "grid"),
    (negative_scale, "no positive number"),
    (infinite_scale, "no positive number"),
    (wrong_zero_point, "grid"),
    (wrong_axis, "scales"),
    (swapped_ranges, "grid"),
    (wrong_weight_scale, "the scales of weight"),
    (wrong_bias_scale, "scales of the bias"),
    (another_stride, "attributes"),
    (no_sigmoid, "Tanh"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=lambda value: getattr(value, "__name__", ""))
def test_what_is_wrong_is_refused(files: tuple[Path, Path], tmp_path: Path, change: Change, words: str) -> None:
    proto = onnx.load(files[1])
    change(proto)
    onnx.save(proto, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match=words):
        onnxprune.verify(files[0], tmp_path / "wrong.onnx")


def test_another_weight_is_said(files: tuple[Path, Path], tmp_path: Path) -> None:
    """Repair gives weights other values: they are no error, and no secret."""
    proto = onnx.load(files[1])
    turned_weight(proto)
    onnx.save(proto, tmp_path / "turned.onnx")
    found = onnxprune.verify(files[0], tmp_path / "turned.onnx")
    assert len(found.refitted) == 1 and found.grids is not None and found.grids.moved_steps > 3
