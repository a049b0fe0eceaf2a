"""Normalisations, as operators and decomposed: over a cut axis the statistics are those of the kept indices."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxprune.model.load import Model, load
from onnxprune.trace import Trace, trace_model
from tests.builders import MICROSOFT, Net, ints
from tests.oracle import Bools, Case, Cases, compare, expect, remove

case = Cases()
CASES = case.all
FREE = {"a": 8}


@case(FREE, opsets=(7, 9, 14, 15, 21))
def batch_normalization(net: Net) -> None:
    net.head(net.relu(net.bn(net.bn(net.stem()))))


@case(FREE)
def batch_normalization_of_rows(net: Net) -> None:
    net.head(net.relu(net.bn(net.gemm(net.input(6), 8, name="a"))))


@case({"b": 6}, {"n": "BatchNormalization aligns it with an axis that cannot shrink"})
def normalized_input(net: Net) -> None:
    net.head(net.relu(net.conv(net.bn(net.input(3, 6, 6), name="n"), 6, name="b")))


@case(FREE, opsets=(7, 17))
def instance_normalization(net: Net) -> None:
    net.head(net.relu(net.op("InstanceNormalization", net.stem(), net.positive(8), net.normal(8))))


@case(FREE, opsets=(9, 17))
def mean_variance_normalization(net: Net) -> None:
    h = net.op("MeanVarianceNormalization", net.stem())
    net.head(net.relu(net.hint(h, 8, 6, 6)))


@case({}, {"a": "MeanVarianceNormalization normalises over it"}, opsets=(17,))
def mean_variance_over_channels(net: Net) -> None:
    h = net.op("MeanVarianceNormalization", net.stem(), axes=[-3, 2, 3])
    net.head(net.relu(net.hint(h, 8, 6, 6)))


# ---- groups ----------------------------------------------------------------------------------------------------
@case(FREE, opsets=(21, 23), each={"1": (1,), "2": (2,), "4": (4,)})
def group_normalization(net: Net, groups: int) -> None:
    h = net.op("GroupNormalization", net.stem(), net.positive(8), net.normal(8), num_groups=groups, epsilon=0.1)
    net.head(net.relu(net.hint(h, 8, 6, 6)))


@case({}, {"a": "groups of two sizes meet on it"}, opsets=(21,))
def two_group_normalizations(net: Net) -> None:
    h = net.op("GroupNormalization", net.stem(), net.positive(8), net.normal(8), num_groups=2)
    h = net.op("GroupNormalization", h, net.positive(8), net.normal(8), num_groups=4)
    net.head(net.hint(h, 8, 6, 6))


@case({"a": 4}, opsets=(11, 17), each={"0,G,-1": ((0, 2, -1),), "literal": ((-1, 2, 36),), "4d": ((0, 2, -1, 3),)})
def decomposed_group_normalization(net: Net, view: tuple[int, ...]) -> None:
    """Reshape - InstanceNormalization - Reshape - Mul - Add, as exporters write it: positions of all groups."""
    h = net.stem(size=3)
    grouped = net.op("InstanceNormalization", net.reshape(h, *view), np.ones(2, np.float32), np.zeros(2, np.float32))
    back = net.op("Reshape", grouped, net.op("Shape", h))
    scaled = net.op("Mul", net.hint(back, 8, 3, 3), net.positive(8, 1, 1))
    net.head(net.relu(net.add(scaled, net.normal(8, 1, 1))))


@case({"a": 4})
def group_normalization_with_literal_sizes(net: Net) -> None:
    h = net.stem(size=3)
    grouped = net.op("InstanceNormalization", net.reshape(h, 0, 2, -1), net.positive(2), net.normal(2))
    net.head(net.reshape(grouped, 0, 8, 3, 3))


def open_pixels(net: Net) -> tuple[str, str]:
    """An image of any size, which is that of the batch here; its channels, and those of each of two groups."""
    image = net.declare("x", ["N", 3, "N", "N"])
    h = net.op("Conv", image, net.normal(8, 3, 1, 1), net.normal(8), name="a")
    return h, net.op("Reshape", h, ints(0, 2, -1))


@case({"a": 4}, opsets=(17, 18))
def group_normalization_of_open_pixels(net: Net) -> None:
    """Channels and pixels on one axis: its mask is as long as the image is large."""
    h, grouped = open_pixels(net)
    grouped = net.op("InstanceNormalization", grouped, net.positive(2), net.normal(2))
    back = net.op("Reshape", net.op("Sigmoid", grouped), net.op("Shape", h))
    net.output(net.op("Conv", back, net.normal(4, 8, 1, 1), name="z"), rank=4)


@case({"a": 4}, each={op: (op,) for op in ("ReduceMean", "ReduceMax", "ReduceSum")})
def reduction_of_open_pixels(net: Net, op_type: str) -> None:
    _, grouped = open_pixels(net)
    axes: dict[str, Any] = {} if op_type == "ReduceSum" else {"axes": [2]}
    inputs = [ints(2)] if op_type == "ReduceSum" else []
    net.output(net.op(op_type, net.op("Sigmoid", grouped), *inputs, **axes), rank=3)


@case({"a": 2}, units="heads")
def whole_groups(net: Net) -> None:
    """Where heads are asked for, whole groups go."""
    h = net.stem(size=3)
    grouped = net.op("InstanceNormalization", net.reshape(h, 0, 2, -1), net.positive(2), net.normal(2))
    net.head(net.reshape(grouped, 0, 8, 3, 3))


# ---- layers ----------------------------------------------------------------------------------------------------
@case(FREE, opsets=(17, 21), each={"both": (True,), "no bias": (False,)})
def layer_normalization(net: Net, bias: bool) -> None:
    h = net.op("LayerNormalization", net.tokens(), net.positive(8), *[net.normal(8)] * bias, epsilon=0.01)
    net.project(h)


@case(FREE)
def layer_normalization_over_all_axes(net: Net) -> None:
    h = net.op("LayerNormalization", net.stem(size=3), net.positive(8, 3, 3), net.normal(8, 3, 3), axis=1)
    net.head(h)


@case(FREE)
def layer_normalization_of_space(net: Net) -> None:
    net.head(net.op("LayerNormalization", net.stem(), net.positive(6), net.normal(6), axis=-1))


@case({"a": 8, "b": 8})
def residual_stream(net: Net) -> None:
    """Pre-norm blocks: the stream is one group, the hidden layer another."""
    h = net.tokens()
    inner = net.op("LayerNormalization", h, net.positive(8), net.normal(8))
    h = net.add(h, net.dense(net.relu(net.dense(inner, 8, name="b")), 8))
    net.project(net.op("LayerNormalization", h, net.positive(8), net.normal(8)))


@case(FREE, opsets=(11, 17, 18), each={"variance": ("Mul",), "power": ("Pow",)})
def decomposed_layer_normalization(net: Net, square: str) -> None:
    h = net.tokens()
    centred = net.op("Sub", h, net.mean(h, 2))
    squared = net.op("Mul", centred, centred) if square == "Mul" else net.op("Pow", centred, net.number(2))
    deviation = net.op("Sqrt", net.add(net.mean(squared, -1), net.number(1e-5)))
    net.project(net.add(net.op("Mul", net.op("Div", centred, deviation), net.positive(8)), net.normal(8)))


@case(FREE)
def channels_first_layer_normalization(net: Net) -> None:
    """ConvNeXt: permute, normalise, permute."""
    h = net.op("LayerNormalization", net.transpose(net.stem(), 0, 2, 3, 1), net.positive(8), net.normal(8))
    net.head(net.transpose(h, 0, 3, 1, 2))


@case(FREE, opsets=(23,))
def rms_normalization(net: Net) -> None:
    net.project(net.op("RMSNormalization", net.tokens(), net.positive(8), epsilon=0.01))


@case(FREE)
def decomposed_rms_normalization(net: Net) -> None:
    h = net.tokens()
    power = net.add(net.mean(net.op("Mul", h, h), -1), net.number(1e-5))
    net.project(net.op("Mul", net.op("Mul", h, net.op("Reciprocal", net.op("Sqrt", power))), net.positive(8)))


@case({"a": 8}, each={"bias": (True,), "plain": (False,)})
def skip_layer_normalization(net: Net, bias: bool) -> None:
    x = net.input(5, 6)
    left, right = net.matmul(x, 8, name="a"), net.matmul(x, 8, name="b")
    extra = [net.normal(8)] * bias
    h, _, _, total = net.many(
        "SkipLayerNormalization", 4, left, right, net.positive(8), net.normal(8), *extra, domain=MICROSOFT
    )
    net.project(net.add(net.hint(h, 5, 8), net.hint(total, 5, 8)))


@case({"a": 8}, each={"bias": (True,), "plain": (False,)})
def skip_simplified_layer_normalization(net: Net, bias: bool) -> None:
    x = net.input(5, 6)
    left, right = net.matmul(x, 8, name="a"), net.matmul(x, 8, name="b")
    extra = [net.normal(8)] * bias
    h = net.op("SkipSimplifiedLayerNormalization", left, right, net.positive(8), *extra, domain=MICROSOFT)
    net.project(net.hint(h, 5, 8))


@case(FREE)
def normalization_by_the_norm(net: Net) -> None:
    """x / max(|x|, eps), spelled out."""
    h = net.tokens()
    norm = net.op("Max", net.with_axes("ReduceL2", h, -1), net.number(1e-6))
    net.project(net.op("Div", h, norm))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


@pytest.mark.parametrize("op_type", ["GroupNormalization", "MeanVarianceNormalization"])
def test_shapes_go_on_behind_operators_that_onnx_does_not_infer(op_type: str) -> None:
    net = Net(21)
    grouped = op_type == "GroupNormalization"
    h = net.op(op_type, net.stem(), *[net.positive(8)] * (2 * grouped), **({"num_groups": 2} if grouped else {}))
    net.head(net.conv(net.hint(h, 8, 6, 6), 5, 3, name="b"))
    net.hints.clear()
    trace = trace_model(load(net.model()))
    assert trace.facts.shapes[h] == (1, 8, 6, 6)
    assert {group.name: group.size for group in trace.prunable}["b"] == 5


@pytest.mark.parametrize(
    ("groups", "channels", "units"),
    [(4, 8, 4), (8, 8, 8), (2, 8, 8), (1, 8, 8), (4, 128, 128)],
    ids=["pairs", "singles", "few groups", "one group", "wide groups"],
)
def test_old_group_normalization(groups: int, channels: int, units: int) -> None:
    """Before opset 21 it has one scale per group: groups leave whole, few or wide ones lose channels instead.

    onnx's checker refuses that operator by now.
    """
    for seed in range(3):
        net = Net(18)
        parameters = net.positive(groups), net.normal(groups)
        h = net.op("GroupNormalization", net.stem(channels), *parameters, num_groups=groups, epsilon=0.1)
        net.head(net.relu(net.add(net.hint(h, channels, 6, 6), net.normal(channels, 1, 1))))
        trace = trace_model(load(net.model()))
        expect(trace, {"a": units}, {})
        assert not trace.has_heads
        keep, smaller, refusals = remove(trace, seed)
        assert not refusals and compare(trace, keep, smaller, checker=False) == (True, True)


def test_old_group_normalization_keeps_groups_of_which_a_part_stays() -> None:
    net = Net(18)
    h = net.op("GroupNormalization", net.stem(), net.positive(4), net.normal(4), num_groups=4)
    h = net.hint(h, 8, 6, 6)
    net.output(net.slice(h, 2, 3, 1))
    net.head(net.relu(h))
    trace = trace_model(load(net.model()))
    expect(trace, {"a": 3}, {"a": "Slice leaves it alone on its axis"})
    keep, smaller, _ = remove(trace, 0)
    assert compare(trace, keep, smaller, checker=False) == (True, True)


def test_simplified_layer_normalization() -> None:
    """ONNX Runtime registers it in the default domain, where onnx's checker does not know it."""
    trace, keep, smaller = _simplified("")
    assert compare(trace, keep, smaller, checker=False) == (True, True)


def test_simplified_layer_normalization_of_microsoft() -> None:
    """Some exporters write it so; no CPU kernel runs it."""
    _, keep, smaller = _simplified(MICROSOFT)
    assert sorted(t.shape[-1] for t in smaller.tensors.values()) == sorted([4, *[int(keep.sum()) - 1] * 3])


def _simplified(domain: str) -> tuple[Trace, Bools, Model]:
    net = Net()
    h = net.op("SimplifiedLayerNormalization", net.tokens(), net.positive(8), domain=domain, epsilon=0.01, axis=-1)
    net.project(net.hint(h, 5, 8))
    trace = trace_model(load(net.model()))
    expect(trace, FREE, {})
    keep, smaller, _ = remove(trace, 0)
    return trace, keep, smaller


ALSO = [("", "SimplifiedLayerNormalization"), (MICROSOFT, "SimplifiedLayerNormalization")]
