"""Transpose, Concat, Split, Slice, Gather, Pad, DepthToSpace, SpaceToDepth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.builders import Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}


# ---- Transpose and Concat --------------------------------------------------------------------------------------
@case(FREE, opsets=(7, 13, 21))
def there_and_back(net: Net) -> None:
    """Channels last, an addition there, and back."""
    h = net.add(net.transpose(net.stem(), 0, 2, 3, 1), net.normal(8))
    net.head(net.transpose(net.relu(h), 0, 3, 1, 2))


@case(FREE)
def transpose_without_perm(net: Net) -> None:
    h = net.op("Transpose", net.op("Transpose", net.relu(net.tokens())))
    net.project(h)


@case({"a": 8, "b": 6}, opsets=(7, 11, 13, 17))
def concat(net: Net) -> None:
    x = net.input(3, 6, 6)
    net.head(net.relu(net.concat(net.conv(x, 8, name="a"), net.conv(x, 6, name="b"))))


@case(FREE)
def concat_with_itself(net: Net) -> None:
    h = net.stem()
    net.head(net.concat(h, net.relu(h), h))


@case(FREE, each={"-1": (-1,), "2": (2,)})
def concat_on_another_axis(net: Net, axis: int) -> None:
    x = net.input(3, 6, 6)
    net.head(net.relu(net.concat(net.conv(x, 8, name="a"), net.conv(x, 8, name="b"), axis=axis)))


@case(FREE)
def concat_with_an_input(net: Net) -> None:
    """A part that stays does not pin the others."""
    net.head(net.relu(net.concat(net.input(3, 6, 6), net.stem(), net.input(2, 6, 6))))


@case({"a": 8, "b": 4, "c": 4})
def dense_block(net: Net) -> None:
    h = net.stem()
    for name in "bc":
        h = net.concat(h, net.conv(net.relu(net.bn(h)), 4, 3, pads=[1] * 4, name=name))
    net.head(net.relu(net.bn(h)))


@case({}, {"a": "Concat aligns it with an axis that cannot shrink"})
def concat_of_rows_with_an_input(net: Net) -> None:
    net.head(net.concat(net.stem(), net.input(8, 6, 6), axis=2))


@case({"a": 8, "b": 4}, {"b": "Add aligns it with indices that stay"})
def partly_added_to_an_input(net: Net) -> None:
    """Concat(free 8, free 6, input 2) + Concat(free..., input): only the part that meets the input is pinned."""
    x, y = net.input(3, 6, 6), net.input(2, 6, 6)
    left = net.concat(net.conv(x, 8, name="a"), net.conv(x, 6, name="b"))
    right = net.concat(net.conv(x, 12, name="c"), y)
    net.head(net.add(left, right))


# ---- Split -----------------------------------------------------------------------------------------------------
@case({"a": 5, "a#2": 3}, opsets=(7, 11, 13, 17, 21))
def uneven_split(net: Net) -> None:
    left, right = net.split(net.relu(net.stem()), 5, 3)
    net.head(left)
    net.head(net.concat(right, net.input(1, 6, 6)), name="y")


@case({"a": 4}, opsets=(11, 13, 17))
def halves_that_meet_again(net: Net) -> None:
    """A gated unit: both halves are multiplied."""
    left, right = net.split(net.stem(), 4, 4)
    net.head(net.op("Mul", left, net.op("Sigmoid", right)))


@case({"a": 4}, opsets=(11, 13, 17))
def equal_split_without_sizes(net: Net) -> None:
    left, right = net.many("Split", 2, net.stem(), axis=1)
    net.head(net.op("Mul", left, net.op("Tanh", right)))


@case({"a": 3, "a#2": 3, "a#3": 2}, opsets=(18, 21))
def split_by_number(net: Net) -> None:
    """num_outputs: the last part may be smaller."""
    parts = net.many("Split", 3, net.relu(net.stem()), axis=1, num_outputs=3)
    for part, name in zip(parts, "xyz", strict=True):
        net.head(part, name=name)


@case(FREE, opsets=(11, 13))
def split_of_space(net: Net) -> None:
    top, bottom = net.split(net.relu(net.stem()), 2, 4, axis=2)
    net.head(net.concat(bottom, top, axis=2))


@case({"a": 8, "a#2": 8})
def packed_queries_and_keys(net: Net) -> None:
    """One product makes q, k and v: q and k meet."""
    q, k, v = net.split(net.tokens(24), 8, 8, 8, axis=2)
    scores = net.softmax(net.op("MatMul", q, net.transpose(k, 0, 2, 1)))
    net.project(net.op("MatMul", scores, v))


@case({"a": 8})
def split_and_joined(net: Net) -> None:
    """Nothing happens in between: all eight are one group, though the halves have their own."""
    net.head(net.concat(*net.split(net.relu(net.stem()), 3, 5)))


# ---- Slice -----------------------------------------------------------------------------------------------------
@case(FREE, opsets=(7, 10, 13), each={"front": (0, 5, 1), "end": (-3, 2**31 - 1, 1), "middle": (2, -2, 1)})
def channel_slice(net: Net, start: int, end: int, step: int) -> None:
    h = net.relu(net.stem())
    net.head(net.concat(net.slice(h, start, end, 1, step), h))


@case(
    FREE,
    each={"reverse": (-1, -(2**31), -1), "every second": (0, 8, 2), "odd backwards": (7, 0, -2), "empty": (5, 5, 1)},
)
def stepped_slice(net: Net, start: int, end: int, step: int) -> None:
    h = net.relu(net.stem())
    net.head(net.concat(net.slice(h, start, end, 1, step), h))


@case({"a": 4})
def palindrome(net: Net) -> None:
    """x * reverse(x): index i and 7 - i are one."""
    h = net.relu(net.stem())
    net.head(net.op("Mul", h, net.slice(h, -1, -(2**31), 1, -1)))


@case({"a": 8}, refused="")
def focus(net: Net) -> None:
    """Slices of space, joined on channels (YOLOv5's first layer)."""
    h = net.relu(net.stem())
    parts = [net.op("Slice", h, ints(i, j), ints(6, 6), ints(2, 3), ints(2, 2)) for i in (0, 1) for j in (0, 1)]
    net.head(net.concat(*parts))


@case({"a": 4, "a#2": 4}, refused="Slice picks an uneven selection of several axes")
def slice_of_channels_and_space(net: Net) -> None:
    h = net.relu(net.stem())
    part = net.op("Slice", h, ints(0, 1), ints(8, 6), ints(1, 2), ints(2, 1))
    net.head(part)
    net.head(h, name="y")


@case({}, {"a": "Slice has bounds on it that are not known before it runs"})
def slice_with_bounds_from_outside(net: Net) -> None:
    start = net.declare("start", [1], np.int64)
    net.output(net.op("Slice", net.stem(), start, ints(9), ints(1)), rank=4)


@case(FREE)
def slice_with_bounds_from_outside_on_space(net: Net) -> None:
    h = net.op("Slice", net.relu(net.stem()), net.declare("start", [1], np.int64), ints(9), ints(2))
    net.output(net.op("Conv", h, net.normal(4, 8, 1, 1)), rank=4)


@case({"a": 2, "a#2": 6})
def slice_without_axes(net: Net) -> None:
    """Channels 1 to 6: the others are a group of their own."""
    h = net.relu(net.stem())
    net.head(net.op("Slice", h, ints(0, 1), ints(9, 7)))
    net.head(h, name="y")


@case(FREE)
def slice_up_to_a_computed_size(net: Net) -> None:
    """x[:, : x.shape[1]] with a bound that follows the cut."""
    h = net.relu(net.stem())
    net.head(net.hint(net.op("Slice", h, ints(0), net.size_of(h, 1), ints(1)), 8, 6, 6))


# ---- Gather ----------------------------------------------------------------------------------------------------
@case(
    FREE, opsets=(7, 11, 13), each={"permuted": ([7, 3, 0, 1],), "repeated": ([2, 2, 5],), "negative": ([-1, 0, -3],)}
)
def channel_gather(net: Net, picked: list[int]) -> None:
    h = net.relu(net.stem())
    net.head(net.concat(net.op("Gather", h, ints(*picked), axis=1), h))


@case({"a": 8})
def shuffle_by_gather(net: Net) -> None:
    """The other spelling of a channel shuffle: no group is tied."""
    net.head(net.op("Gather", net.relu(net.stem()), ints(0, 4, 1, 5, 2, 6, 3, 7), axis=1))


@case({"a": 4})
def gather_by_a_matrix(net: Net) -> None:
    """Indices (2, 4): the picked ones form a rectangle that must stay one."""
    h = net.op("Gather", net.relu(net.stem()), np.arange(8).reshape(2, 4)[:, ::-1].copy(), axis=1)
    net.head(net.reshape(net.transpose(h, 0, 2, 1, 3, 4), 0, 8, 6, 6))


@case({"a": 7}, {"a": "Gather picks this very index"})
def gather_of_one_channel(net: Net) -> None:
    h = net.relu(net.stem())
    one = net.unsqueeze(net.op("Gather", h, np.array(3), axis=1), 1)
    net.head(net.op("Mul", h, one))


@case({"a": 7}, {"a": "leaves it alone on its axis"})
def slice_of_one_channel(net: Net) -> None:
    h = net.relu(net.stem())
    net.head(net.op("Mul", h, net.slice(h, 3, 4, 1)))


@case({}, {"a": "Gather looks it up by indices that are not known before it runs"})
def gather_from_outside(net: Net) -> None:
    net.output(net.op("Gather", net.stem(), net.declare("which", [3], np.int64), axis=1))


@case({"a": 8})
def embedding(net: Net) -> None:
    tokens = net.declare("ids", ["N", 5], np.int64)
    net.project(net.op("Gather", net.normal(11, 8), tokens, name="a"))


@case({"a": 8, "b:w3": 4})
def embeddings_that_are_added(net: Net) -> None:
    """Tokens and positions; nobody looks up the last four positions."""
    tokens = net.declare("ids", ["N", 5], np.int64)
    h = net.op("Gather", net.normal(11, 8), tokens, name="a")
    net.project(net.relu(net.add(h, net.op("Gather", net.normal(9, 8), np.arange(5)[None], name="b"))))


@case({"a": 8}, opsets=(11, 17))
def gather_on_space(net: Net) -> None:
    net.head(net.op("Gather", net.relu(net.stem()), ints(5, 1, 0), axis=2))


# ---- Pad -------------------------------------------------------------------------------------------------------
def _pad(net: Net, x: str, pads: list[int], **attributes: Any) -> str:
    if net.opset < 11:
        return net.op("Pad", x, pads=pads, **attributes)
    return net.op("Pad", x, ints(*pads), **attributes)


@case(FREE, opsets=(7, 11, 13, 18), each={"constant": ("constant",), "reflect": ("reflect",), "edge": ("edge",)})
def pad_of_space(net: Net, mode: str) -> None:
    net.head(_pad(net, net.relu(net.stem()), [0, 0, 1, 2, 0, 0, 2, 1], mode=mode))


@case({"a": 8, "b": 4}, opsets=(7, 11, 13, 18))
def padded_shortcut(net: Net) -> None:
    """Zeros make up channels that live with those they meet (the shortcut of a ResNet for CIFAR)."""
    h = net.relu(net.stem())
    net.head(net.relu(net.add(_pad(net, h, [0, 2, 0, 0, 0, 2, 0, 0]), net.conv(h, 12, name="b"))))


@case({"a": 8}, opsets=(18, 21))
def pad_with_axes(net: Net) -> None:
    h = net.op("Pad", net.relu(net.stem()), ints(1, 2), net.number(0.5), ints(2))
    net.head(net.op("Pad", h, ints(1, 0), None, ints(-1)))


@case({}, {"a": "Pad crops or repeats it"}, each={"crop": ("constant", -1), "reflect": ("reflect", 1)})
def pad_that_is_not_understood(net: Net, mode: str, count: int) -> None:
    net.output(_pad(net, net.stem(), [0, count, 0, 0, 0, 0, 0, 0], mode=mode))


@case({}, {"a": "Pad has sizes that are not known before it runs"})
def pad_from_outside(net: Net) -> None:
    net.output(net.op("Pad", net.stem(), net.declare("pads", [8], np.int64)), rank=4)


# ---- DepthToSpace ----------------------------------------------------------------------------------------------
@case({"a": 3}, opsets=(11, 13, 17), each={"DCR": ("DCR",), "CRD": ("CRD",)})
def depth_to_space(net: Net, mode: str) -> None:
    net.head(net.op("DepthToSpace", net.relu(net.stem(12)), blocksize=2, mode=mode))


@case({"a": 3}, opsets=(7,))
def depth_to_space_without_a_mode(net: Net) -> None:
    net.head(net.op("DepthToSpace", net.relu(net.stem(12)), blocksize=2))


@case(FREE, opsets=(7, 13))
def space_to_depth(net: Net) -> None:
    net.head(net.op("SpaceToDepth", net.relu(net.stem()), blocksize=2))


@case({"a": 3, "u": 2})
def upsampling_twice(net: Net) -> None:
    h = net.op("DepthToSpace", net.relu(net.stem(12)), blocksize=2, mode="CRD")
    net.head(net.op("DepthToSpace", net.relu(net.conv(h, 8, name="u")), blocksize=2, mode="DCR"))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


@pytest.mark.parametrize("opset", [7, 13])
def test_an_uneven_selection_becomes_a_gather(opset: int) -> None:
    from onnxprune.cut import cut
    from onnxprune.model.load import load
    from onnxprune.trace import trace_model

    net = Net(opset)
    h = net.relu(net.stem())
    net.head(net.slice(h, 0, 8, 1, 2) if opset >= 10 else net.slice(h, 0, 6, 1))
    net.head(h, name="y")
    trace = trace_model(load(net.model()))
    keep = np.ones(trace.unit_count, bool)
    channels = trace.axes(h)[1]
    assert channels is not None
    keep[channels[2]] = False
    kinds = [n.op_type for n in cut(trace, keep).proto.graph.node]
    assert ("Gather" in kinds) == (opset >= 10)
