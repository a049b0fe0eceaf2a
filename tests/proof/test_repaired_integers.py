"""What `verify` accepts of the integers of a repaired file: scales that grew, biases in the right steps, no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import onnxprune
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.proof.compare_files import compare_with_expected
from tests.builders import Net
from tests.quantized import executed, images, quantized

FEEDS = images(60)


def network(bias: bool) -> ModelProto:
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 12, 3, bias=bias, name="first"))
    h = net.relu(net.conv(h, 12, 3, bias=bias, name="second"))
    net.output(net.conv(h, 5, bias=bias, name="last"))
    return net.model()


@pytest.fixture(scope="module", params=[True, False], ids=["biased", "unbiased"])
def files(request: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quantised network, and what `shrink` made of it."""
    folder = tmp_path_factory.mktemp("files")
    source, target = folder / "source.onnx", folder / "small.onnx"
    onnx.save(quantized(network(request.param), FEEDS), source)
    result = onnxprune.shrink(source, target, data=FEEDS, criterion="l1", ratio=0.4, repair="least-squares")
    assert result.repair is not None and result.repair.corrected_layers == 2 and result.proof is not None
    return source, target


def test_a_repaired_file_is_accepted(files: tuple[Path, Path]) -> None:
    source, target = files
    refitted = onnxprune.verify(source, target).refitted
    small = onnx.load(target)
    integers = [t.name for t in small.graph.initializer if t.data_type in (TensorProto.INT8, TensorProto.INT32)]
    assert any(name in refitted for name in integers)
    assert executed(small).get("QLinearConv", 0) == executed(onnx.load(source)).get("QLinearConv", 0) == 3
    onnx.checker.check_model(small, full_check=True)
    again = onnxprune.shrink(target, target.with_name("again.onnx"), data=FEEDS, criterion="l1", ratio=0.3)
    assert again.repair is not None and again.proof is not None


def node_of(model: ModelProto, name: str) -> NodeProto:
    return next(n for n in model.graph.node if n.name == name)


def undo(model: ModelProto, name: str, slot: int) -> NodeProto:
    """The node that makes numbers for an input of a layer."""
    key = node_of(model, name).input[slot]
    return next(n for n in model.graph.node if key in n.output)


def scaled(model: ModelProto, name: str, factor: float) -> None:
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(tensor) * factor).astype(np.float32), name))


def wrong_steps(model: ModelProto) -> None:
    scaled(model, undo(model, "last", 2).input[1], 1.5)


def larger_weight(model: ModelProto) -> None:
    """Without its bias."""
    scaled(model, undo(model, "last", 1).input[1], 2.0)


def negative(model: ModelProto) -> None:
    scaled(model, undo(model, "last", 1).input[1], -1.0)
    scaled(model, undo(model, "last", 2).input[1], -1.0)


def input_scale(model: ModelProto) -> None:
    scaled(model, undo(model, "last", 0).input[1], 1.1)


def zero_point(model: ModelProto) -> None:
    name = undo(model, "last", 0).input[2]
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.uint8(1), name))


def axis(model: ModelProto) -> None:
    node = undo(model, "last", 1)
    next(a for a in node.attribute if a.name == "axis").i = 1


def more(model: ModelProto) -> None:
    """One more node that nobody reads."""
    scale = undo(model, "last", 1).input[1]
    model.graph.node.insert(0, helper.make_node("DequantizeLinear", ["new", scale], ["nothing"]))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.int8), "new"))


def other_scale(model: ModelProto) -> None:
    """Of the input of a layer, which no repair changes."""
    node = undo(model, "last", 0)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "other"))
    node.input[1] = "other"


@pytest.mark.parametrize(
    "change", [wrong_steps, larger_weight, negative, input_scale, zero_point, axis, more, other_scale]
)
def test_nothing_else_is(change: Callable[[ModelProto], None], files: tuple[Path, Path], tmp_path: Path) -> None:
    model = onnx.load(files[1])
    change(model)
    onnx.save(model, tmp_path / "wrong.onnx")
    with pytest.raises(VerificationError, match=r"the file|its plan|no repair changes"):
        onnxprune.verify(files[0], tmp_path / "wrong.onnx")


def shared(model: ModelProto) -> None:
    """The weights of two layers have one scale."""
    undo(model, "second", 1).input[1] = undo(model, "last", 1).input[1]


def number(model: ModelProto, name: str) -> float:
    return float(numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == name)).reshape(()))


def with_own_scale(model: ModelProto, scale: NDArray[np.float32]) -> ModelProto:
    """The second layer gets one, and its bias the steps for it."""
    found = ModelProto()
    found.CopyFrom(model)
    found.graph.initializer.append(numpy_helper.from_array(scale, "own"))
    undo(found, "second", 1).input[1] = "own"
    name = undo(found, "second", 2).input[1]
    factor = float(scale.reshape(-1)[0]) * number(found, undo(found, "second", 0).input[1]) / number(found, name)
    scaled(found, name, factor)
    return found


def test_a_scale_of_its_own_instead_of_one_that_others_read() -> None:
    expected = quantized(network(True), FEEDS, per_channel=False)
    shared(expected)
    scale = np.array(number(expected, undo(expected, "second", 1).input[1]), np.float32)
    assert "own" in compare_with_expected(load(expected), load(with_own_scale(expected, 2 * scale)))
    for wrong in (np.float32([2.0, 2.0]), np.array(np.nan, np.float32)):
        with pytest.raises(VerificationError):
            compare_with_expected(load(expected), load(with_own_scale(expected, wrong)))


def test_scales_that_were_strange_before_may_stay(files: tuple[Path, Path]) -> None:
    """Channels that are all zero have scales of 0 in some files."""
    model = onnx.load(files[0])
    name = undo(model, "last", 1).input[1]
    tensor = next(t for t in model.graph.initializer if t.name == name)
    values = numpy_helper.to_array(tensor).copy()
    values[1] = 0
    tensor.CopyFrom(numpy_helper.from_array(values, name))
    assert compare_with_expected(load(model), load(model)) == ()
