"""Sizes that only look fixed: 224 // 32 is 225 // 32, an odd size may be cropped to an even one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import ModelProto

from onnxprune import shrink
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.model.statics import Statics
from onnxprune.proof.inputs import cases
from tests.builders import Net, ints
from tests.hostile.support import run, save

WRITTEN = "small.onnx"


def _image(net: Net, stride: int) -> str:
    x = net.declare("x", ["N", 3, "H", "W"])
    h = net.op("Conv", x, net.normal(8, 3, 3, 3), net.normal(8), name="a", pads=[1] * 4, strides=[stride] * 2)
    return net.relu(h)


def _sizes(net: Net, h: str) -> str:
    return net.op("Slice", net.op("Shape", h), ints(2), ints(4), ints(0))


def padded_to_a_whole(net: Net) -> None:
    """Pads of the image beside the channels: 16 - H // 32."""
    h = _image(net, 32)
    pads = net.concat(ints(0, 2, 0, 0, 0, 2), net.op("Sub", ints(16, 16), _sizes(net, h)), axis=0)
    net.output(net.op("Conv", net.op("Pad", h, pads), net.normal(4, 12, 1, 1), name="z"), rank=4)


def padded_around(net: Net) -> None:
    """Only the image is padded, to a multiple of 8."""
    h = _image(net, 1)
    eight = ints(8, 8)
    pads = net.op("Mod", net.op("Sub", eight, net.op("Mod", _sizes(net, h), eight)), eight)
    h = net.op("Pad", h, net.concat(ints(0, 0, 0, 0, 0, 0), pads, axis=0))
    net.output(net.op("Conv", h, net.normal(4, 8, 8, 8), name="z", strides=[8, 8]), rank=4)


def cropped_to_another(net: Net) -> None:
    """A U-Net crops to what the way down left, all axes in one Slice: 225 becomes 224."""
    e = _image(net, 1)
    down = net.op("MaxPool", e, kernel_shape=[2, 2], strides=[2, 2])
    inner = net.relu(net.op("Conv", down, net.normal(10, 8, 1, 1), net.normal(10), name="b"))
    up = net.op("ConvTranspose", inner, net.normal(10, 8, 2, 2), net.normal(8), name="up", strides=[2, 2])
    ends = net.op("Slice", net.op("Shape", up), ints(1), ints(4), ints(0))
    cropped = net.op("Slice", e, ints(0, 0, 0), ends, ints(1, 2, 3))
    net.output(net.op("Conv", net.add(cropped, up), net.normal(4, 8, 1, 1), name="z"), rank=4)


def chosen_by_the_width(net: Net) -> None:
    """Gather picks the channels from W // 32 - 1 on."""
    h = _image(net, 32)
    width = net.squeeze(net.op("Slice", net.op("Shape", h), ints(3), ints(4), ints(0)), 0)
    one, end = net.constant(np.array(1)), net.constant(np.array(8))
    channels = net.op("Range", net.op("Sub", width, one), end, one)
    net.output(net.op("ReduceSum", net.op("Gather", h, channels, axis=1), ints(1)), rank=4)


def _model(fill: Callable[[Net], None], named: bool) -> ModelProto:
    net = Net(13)
    fill(net)
    proto = net.model()
    if not named:
        for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.ClearField("dim_param")
    return proto


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
@pytest.mark.parametrize(
    ("fill", "shrinks"),
    [(padded_to_a_whole, False), (padded_around, True), (cropped_to_another, True), (chosen_by_the_width, False)],
)
def test_no_symbolic_size_is_written_down(
    tmp_path: Path, fill: Callable[[Net], None], shrinks: bool, named: bool
) -> None:
    """What is written takes every size that the original takes, and gives results of the same shape."""
    proto = _model(fill, named)
    result = shrink(save(tmp_path, proto), tmp_path / WRITTEN, repair="none", threads=1)
    assert (result.after is not None) == shrinks
    for height, width in ((224, 224), (225, 193), (300, 99), (64, 321)) if shrinks else ():
        x = np.ones((1, 3, height, width), np.float32)
        (a,), (b,) = run(proto, {"x": x}), run(tmp_path / WRITTEN, {"x": x})
        assert a.shape == b.shape


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_strided_sizes_are_not_fixed(named: bool) -> None:
    net = Net(13)
    net.output(_sizes(net, _image(net, 32)), dtype=np.int64)
    proto = net.model()
    if not named:
        for dim in proto.graph.input[0].type.tensor_type.shape.dim:
            dim.ClearField("dim_param")
    graph = build(load(proto))
    facts = infer(graph)
    assert not Statics(graph, facts).holds(proto.graph.output[0].name).any()


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_the_proof_sees_odd_and_larger_sizes(named: bool) -> None:
    graph = build(load(_model(cropped_to_another, named)))
    shapes = [case.feed["x"].shape for case in cases(graph, infer(graph))]
    assert (1, 3, 281, 281) in shapes
