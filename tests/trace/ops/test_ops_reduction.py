"""Reductions, pooling, resizing, operators that look at a whole axis."""

from __future__ import annotations

from typing import Any

import numpy as np

from tests.builders import Net, ints, words
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}

CLOSING = words("ReduceSum ReduceL1 ReduceL2 ReduceSumSquare ReduceMean ReduceMax ReduceMin")
PINNING = words("ReduceProd ReduceLogSum ReduceLogSumExp")


@case(FREE, opsets=(7, 13, 18), each={f"{n}-{k}": (n, k) for n in CLOSING for k in (0, 1)})
def reduced_channels(net: Net, op_type: str, keepdims: int) -> None:
    """The channels end here; a mean is over those that stay."""
    h = net.with_axes(op_type, net.op("Tanh", net.stem()), 1, keepdims=keepdims)
    net.output(net.op("Mul", h, net.number(2)))


@case(FREE, each={"all": ([],), "CHW": ([1, 2, 3],), "negative": ([-3],), "CW": ([1, -1],)})
def reduced_axes(net: Net, axes: list[int]) -> None:
    h = net.op("Tanh", net.stem())
    net.output(net.mean(h, *axes) if axes else net.op("ReduceMax", h, keepdims=0))


@case(FREE, each={n: (n,) for n in CLOSING + PINNING})
def reduced_space(net: Net, op_type: str) -> None:
    net.head(net.with_axes(op_type, net.add(net.op("Sigmoid", net.stem(size=3)), net.number(0.5)), 2, 3))


@case({}, each={n: (n,) for n in PINNING})
def refused_over_channels(net: Net, op_type: str) -> None:
    net.output(net.with_axes(op_type, net.op("Sigmoid", net.stem()), 1, name="r"))


@case({}, {"a": "ReduceProd reduces over it"})
def product_of_channels(net: Net) -> None:
    net.output(net.with_axes("ReduceProd", net.op("Sigmoid", net.stem()), 1))


@case(FREE)
def two_axes_at_once(net: Net) -> None:
    """(N, C, H, W) -> (N, C * H * W) -> one mean: every channel counts H * W times."""
    net.output(net.mean(net.op("Flatten", net.op("Tanh", net.stem(size=3))), 1))


@case(FREE, opsets=(18,))
def reduction_of_no_axis(net: Net) -> None:
    net.head(net.op("ReduceSum", net.stem(), np.zeros(0, np.int64), noop_with_empty_axes=1))


@case({}, {"a": "ReduceSum is refused: its axes are not known before it runs"})
def reduction_with_axes_from_outside(net: Net) -> None:
    axes = net.declare("axes", [1], np.int64)
    net.output(net.op("ReduceSum", net.stem(), axes, keepdims=1), rank=4)


# ---- a whole axis ----------------------------------------------------------------------------------------------
def _whole(op_type: str) -> dict[str, Any]:
    return {"p": 2} if op_type == "LpNormalization" else {}


OVER = {
    "Softmax": "Softmax normalises over it",
    "LogSoftmax": "LogSoftmax normalises over it",
    "Hardmax": "Hardmax compares along it",
    "LpNormalization": "LpNormalization normalises over it",
}


@case(FREE, opsets=(13,), each={n: (n,) for n in OVER})
def along_space(net: Net, op_type: str) -> None:
    net.head(net.op(op_type, net.stem(), axis=-1, **_whole(op_type)))


for _name, _reason in OVER.items():

    @case({}, {"a": _reason}, opsets=(7, 13), each={_name: (_name,)})
    def over_channels(net: Net, op_type: str) -> None:
        net.head(net.op(op_type, net.stem(), axis=1, **_whole(op_type)))


@case({}, {"a": "Softmax normalises over it"}, opsets=(7, 11))
def old_softmax_over_all_axes_behind(net: Net) -> None:
    """Before opset 13, Softmax flattens from its axis (default 1) on."""
    net.head(net.op("Softmax", net.stem()))


@case(FREE, opsets=(11,))
def old_softmax_behind_the_channels(net: Net) -> None:
    net.head(net.op("Softmax", net.stem(), axis=2))


@case({"b": 6}, {"a": "TopK sorts along it"}, opsets=(11, 17))
def top_channels(net: Net) -> None:
    values, _ = net.many("TopK", 2, net.stem(), ints(3), axis=1)
    net.head(net.relu(net.conv(values, 6, name="b")))


@case(FREE)
def top_positions(net: Net) -> None:
    values, indices = net.many("TopK", 2, net.stem(), ints(2), axis=-1)
    net.head(net.add(values, net.op("Cast", indices, to=1)))


ARGUMENT = {"ArgMax": "ArgMax gives positions on it", "ArgMin": "ArgMin gives positions on it"}
for _name, _reason in ARGUMENT.items():

    @case({}, {"a": _reason}, each={f"{_name}-{k}": (_name, k) for k in (0, 1)})
    def best_channel(net: Net, op_type: str, keepdims: int) -> None:
        net.output(net.op(op_type, net.stem(), axis=1, keepdims=keepdims), dtype=np.int64)


@case(FREE, each={f"{n}-{k}": (n, k) for n in ARGUMENT for k in (0, 1)})
def best_position(net: Net, op_type: str, keepdims: int) -> None:
    h = net.op("Cast", net.op(op_type, net.stem(), axis=2, keepdims=keepdims), to=1)
    net.head(h)


@case({}, {"a": "CumSum accumulates along it"}, opsets=(11, 17))
def cumulated_channels(net: Net) -> None:
    net.head(net.op("CumSum", net.stem(), np.array(1)))


@case(FREE)
def cumulated_space(net: Net) -> None:
    net.head(net.op("CumSum", net.stem(), np.array(-1)))


@case({"b": 6}, {"a": "LRN mixes neighbouring channels"})
def local_response(net: Net) -> None:
    net.head(net.relu(net.conv(net.op("LRN", net.stem(), size=3), 6, name="b")))


# ---- pooling ---------------------------------------------------------------------------------------------------
WINDOW: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}


@case(FREE, opsets=(7, 11, 17), each={n: (n,) for n in ("MaxPool", "AveragePool", "LpPool")})
def pool(net: Net, op_type: str) -> None:
    net.head(net.relu(net.op(op_type, net.stem(), **WINDOW)))


@case(FREE, each={n: (n,) for n in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")})
def global_pool(net: Net, op_type: str) -> None:
    net.head(net.op("Flatten", net.op(op_type, net.stem())))


@case({}, {"a": "MaxPool gives positions that count channels"})
def pool_with_indices(net: Net) -> None:
    values, indices = net.many("MaxPool", 2, net.stem(), **WINDOW)
    net.head(values)
    net.output(indices, dtype=np.int64)


@case({}, {"a": "MaxPool pools over it"})
def pool_over_former_channels(net: Net) -> None:
    net.head(net.op("MaxPool", net.transpose(net.stem(), 0, 2, 1, 3), **WINDOW), name="b")


@case({"a": 8, "r": 2})
def squeeze_and_excitation(net: Net) -> None:
    """Pool, two small convolutions, a gate per channel."""
    h = net.relu(net.bn(net.stem()))
    gate = net.relu(net.conv(net.op("GlobalAveragePool", h), 2, name="r"))
    net.head(net.op("Mul", h, net.op("Sigmoid", net.conv(gate, 8))))


@case({"a": 8, "r": 3})
def squeeze_and_excitation_of_matrices(net: Net) -> None:
    h = net.relu(net.stem())
    gate = net.gemm(net.relu(net.gemm(net.mean(h, 2, 3, keepdims=0), 3, name="r")), 8)
    net.head(net.op("Mul", net.op("HardSigmoid", net.unsqueeze(gate, 2, 3)), h))


# ---- resizing --------------------------------------------------------------------------------------------------
def _resized(net: Net, x: str, spelling: str) -> str:
    scales, sizes = np.array([1, 1, 2, 2], np.float32), ints(net.channels(x), 12, 12)
    absent = np.zeros(0, np.float32) if net.opset == 11 else None
    if net.opset == 10:
        return net.op("Resize", x, scales)
    if spelling == "sizes":
        return net.op("Resize", x, absent, absent, net.concat(net.size_of(x, 0), sizes, axis=0))
    return net.op("Resize", x, absent, scales, mode="linear")


@case(FREE, opsets=(10, 11, 13, 19), each={"scales": ("scales",), "sizes": ("sizes",)})
def resize(net: Net, spelling: str) -> None:
    net.head(net.hint(_resized(net, net.relu(net.stem()), spelling), 8, 12, 12))


@case(FREE)
def resize_to_computed_sizes(net: Net) -> None:
    """Shape -> Slice -> Concat, as PyTorch exports interpolate."""
    h = net.relu(net.stem())
    front = net.op("Slice", net.op("Shape", h), ints(0), ints(2), ints(0))
    net.head(net.hint(net.op("Resize", h, None, None, net.concat(front, ints(9, 9), axis=0)), 8, 9, 9))


@case(FREE, opsets=(18,))
def resize_of_some_axes(net: Net) -> None:
    net.head(net.op("Resize", net.relu(net.stem()), None, None, ints(9, 9), axes=[2, 3]))


@case(FREE, opsets=(18,))
def resize_with_channels_among_its_axes(net: Net) -> None:
    net.head(net.op("Resize", net.relu(net.stem()), None, None, ints(9, 8), axes=[2, 1]))


@case({}, {"a": "Resize interpolates along it"})
def resized_channels(net: Net) -> None:
    net.head(net.op("Resize", net.stem(), None, np.array([1, 2, 1, 1], np.float32)))


@case(FREE, opsets=(7, 9))
def upsample(net: Net) -> None:
    h = net.relu(net.stem())
    if net.opset < 9:
        net.head(net.op("Upsample", h, scales=[1.0, 1.0, 2.0, 2.0]))
    else:
        net.head(net.hint(net.op("Upsample", h, np.array([1, 1, 2, 2], np.float32)), 8, 12, 12))


# ---- sampling --------------------------------------------------------------------------------------------------
@case(FREE, opsets=(16, 20))
def grid_sample(net: Net) -> None:
    grid = net.op("Tanh", net.input(4, 5, 2))
    net.head(net.op("GridSample", net.relu(net.stem()), grid))


@case({"v": 4}, units="heads")
def grid_sample_of_heads(net: Net) -> None:
    """Images that are batch and heads in one: positions come for every head, so that channels leave in all of them."""
    h = net.transpose(net.reshape(net.dense(net.input(9, 6), 8, name="v"), 0, 3, 3, 2, 4), 0, 3, 4, 1, 2)
    images = net.op("Reshape", h, ints(-1, 4, 3, 3))
    grid = net.op("Tile", net.op("Tanh", net.input(1, 5, 2)), ints(2, 1, 1, 1))
    net.head(net.reshape(net.op("GridSample", images, grid), -1, 8, 5))


@case(FREE)
def roi_align(net: Net) -> None:
    regions = np.array([[0, 0, 4, 4], [1, 1, 5, 5]], np.float32)
    h = net.op("RoiAlign", net.relu(net.stem()), regions, ints(0, 0), output_height=2, output_width=2)
    net.head(h)


@case(FREE)
def max_roi_pool(net: Net) -> None:
    regions = np.array([[0, 0, 0, 4, 4], [0, 1, 1, 5, 5]], np.float32)
    net.head(net.op("MaxRoiPool", net.relu(net.stem()), regions, pooled_shape=[2, 2]))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()
