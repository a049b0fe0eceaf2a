"""Reshape, Flatten, Squeeze, Unsqueeze: literal and computed targets, axes that merge and split."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from onnxprune.trace.ops.reshape import align
from tests.builders import Net, ints
from tests.oracle import Case, Cases

case = Cases()
CASES = case.all
FREE = {"a": 8}
OPSETS = (7, 11, 13, 17, 21)


# ---- merging ---------------------------------------------------------------------------------------------------
@case(FREE, opsets=OPSETS)
def flatten_before_gemm(net: Net) -> None:
    """One channel is H * W columns of the Gemm."""
    net.head(net.op("Flatten", net.relu(net.stem(size=3))))


@case(FREE, each={"2": (2,), "-1": (-1,), "0": (0,)})
def flatten_along(net: Net, axis: int) -> None:
    h = net.op("Flatten", net.relu(net.tokens()), axis=axis)
    if axis in (2, -1):
        net.output(net.matmul(h, 4))
    else:
        net.output(net.reshape(net.op("MatMul", net.reshape(h, -1, 5, 8), net.normal(8, 3)), -1, 15))


@case(
    FREE,
    each={
        "0,-1": ((0, -1),),
        "-1,72": ((-1, 72),),
        "0,72": ((0, 72),),
        "-1,literal,9": ((-1, 8, 9),),
        "0,0,-1": ((0, 0, -1),),
        "0,-1,9": ((0, -1, 9),),
        "-1,0,9": ((-1, 0, 9),),
        "0,8,9,1": ((0, 8, 9, 1),),
        "0,1,8,9": ((0, 1, 8, -1),),
    },
)
def literal_target(net: Net, target: tuple[int, ...]) -> None:
    h = net.reshape(net.relu(net.stem(size=3)), *target)
    if len(target) == 2:
        net.head(h)
    else:
        flat = net.op("Flatten", h)
        net.head(flat)


@case(FREE)
def zero_that_changes_its_meaning(net: Net) -> None:
    """0 copies a size at its own position: after Transpose that is another axis."""
    h = net.transpose(net.relu(net.tokens()), 0, 2, 1)
    h = net.reshape(h, 0, 0, 5)
    net.head(net.reshape(h, 0, 8, -1))


@case(FREE)
def zero_over_an_axis_that_shrinks_otherwise(net: Net) -> None:
    """(N, 8, 8) -> (N, 8, 8, 1) where only one of two equal axes shrinks."""
    h = net.relu(net.tokens(length=8))
    net.project(net.squeeze(net.reshape(h, 0, 0, 0, 1), 3))


@case(FREE, opsets=(14, 17))
def allowzero(net: Net) -> None:
    net.head(net.reshape(net.relu(net.stem(size=3)), -1, 72, allowzero=1))


# ---- computed targets ------------------------------------------------------------------------------------------
@case(FREE, opsets=(11, 13, 17))
def computed_target(net: Net) -> None:
    """Shape -> Gather -> Concat: the sizes follow by themselves."""
    h = net.relu(net.stem(size=3))
    area = net.op("Mul", net.size_of(h, 2), net.size_of(h, 3))
    h = net.op("Reshape", h, net.concat(net.size_of(h, 0), net.size_of(h, 1), area, axis=0))
    net.head(net.op("Flatten", net.hint(h, 8, 9)))


@case(FREE)
def computed_target_with_a_literal_width(net: Net) -> None:
    h = net.relu(net.stem(size=3))
    net.head(net.op("Reshape", h, net.concat(net.size_of(h, 0), ints(72), axis=0)))


@case(FREE)
def computed_target_with_minus_one(net: Net) -> None:
    h = net.relu(net.stem(size=3))
    net.head(net.op("Reshape", h, net.concat(net.size_of(h, 0), ints(-1), axis=0)))


@case(FREE)
def width_computed_from_another_tensor(net: Net) -> None:
    """The size is read where nothing shrinks; the target must follow all the same."""
    other = net.input(8, 2)
    h = net.relu(net.stem(size=3))
    target = net.concat(net.size_of(h, 0), net.size_of(other, 1), ints(9), axis=0)
    net.head(net.op("Flatten", net.op("Reshape", h, target)))
    net.output(net.relu(other))


@case(FREE)
def whole_shape_of_another_tensor(net: Net) -> None:
    """view_as."""
    h = net.relu(net.stem(size=3))
    flat = net.reshape(h, 0, -1)
    net.head(net.op("Reshape", flat, net.op("Shape", h)))


@case({"a": 4})
def pairs(net: Net) -> None:
    """(N, L, C) -> (N, L, C / 2, 2) with C / 2 computed: pairs live and die together."""
    h = net.relu(net.tokens())
    half = net.op("Div", net.size_of(h, 2), ints(2))
    target = net.concat(net.size_of(h, 0), net.size_of(h, 1), half, ints(2), axis=0)
    folded = net.mean(net.op("Reshape", h, target), 3, keepdims=0)
    net.output(net.op("MatMul", folded, net.normal(4, 3)), rank=3)


# ---- splitting -------------------------------------------------------------------------------------------------
@case({"a": 4})
def channel_shuffle(net: Net) -> None:
    """(N, 2 * 4, H, W) -> (N, 2, 4, H, W), swapped: the same position of both groups."""
    h = net.transpose(net.reshape(net.relu(net.stem(size=3)), 0, 2, 4, 3, 3), 0, 2, 1, 3, 4)
    net.head(net.relu(net.reshape(h, 0, 8, 3, 3)))


@case({"a": 4})
def channel_shuffle_with_computed_sizes(net: Net) -> None:
    h = net.relu(net.stem(size=3))
    n, c, height, width = (net.size_of(h, k) for k in range(4))
    view = net.concat(n, ints(2), net.op("Div", c, ints(2)), height, width, axis=0)
    h = net.transpose(net.op("Reshape", h, view), 0, 2, 1, 3, 4)
    net.head(net.op("Reshape", h, net.concat(n, c, height, width, axis=0)))


@case({"a": 2})
def pixel_shuffle(net: Net) -> None:
    """Reshape-Transpose-Reshape: 8 channels are 2 channels of 2 x 2 pixels."""
    h = net.reshape(net.relu(net.stem(size=3)), 0, 2, 2, 2, 3, 3)
    net.head(net.reshape(net.transpose(h, 0, 1, 4, 2, 5, 3), 0, 2, 6, 6))


@case({"a": 3})
def pixel_unshuffle(net: Net) -> None:
    h = net.relu(net.stem(3, size=6))
    h = net.transpose(net.reshape(h, 0, 3, 3, 2, 3, 2), 0, 1, 3, 5, 2, 4)
    net.head(net.reshape(h, 0, 12, 3, 3))


@case({"a": 8})
def windows(net: Net) -> None:
    """Space splits, channels pass."""
    h = net.reshape(net.relu(net.stem()), 0, 8, 2, 3, 2, 3)
    h = net.reshape(net.transpose(h, 0, 2, 4, 3, 5, 1), -1, 9, 8)
    net.output(net.mean(net.reshape(net.matmul(h, 4), -1, 4, 9, 4), 1, 2, keepdims=0))


@case({"a": 4}, {"z": "graph output"})
def heads(net: Net) -> None:
    """(N, L, 2 * 4) -> (N, 2, L, 4): positions, of both heads."""
    h = net.transpose(net.reshape(net.tokens(), 0, 5, 2, 4), 0, 2, 1, 3)
    back = net.reshape(net.transpose(net.relu(h), 0, 2, 1, 3), 0, 5, 8)
    net.project(back)


@case({"a": 2}, units="heads")
def whole_heads(net: Net) -> None:
    h = net.transpose(net.reshape(net.tokens(), 0, 5, 2, 4), 0, 2, 1, 3)
    net.project(net.reshape(net.transpose(net.relu(h), 0, 2, 1, 3), 0, 5, 8))


@case({"a": 2})
def the_other_factor_where_one_is_pinned(net: Net) -> None:
    """Softmax over positions of a head pins them: the choice moves on to whole heads."""
    h = net.softmax(net.reshape(net.tokens(), 0, 5, 2, 4), 3)
    net.project(net.reshape(h, 0, 5, 8))


@case({}, {"a": "Softmax normalises over it"})
def both_factors_pinned(net: Net) -> None:
    h = net.reshape(net.tokens(), 0, 5, 2, 4)
    net.project(net.reshape(net.add(net.softmax(h, 3), net.softmax(h, 2)), 0, 5, 8))


@case({"b": 6}, {"a": "Reshape merges it with another axis that can shrink"})
def two_free_axes_merge(net: Net) -> None:
    """(N, 8, 1) * (N, 1, 6) -> (N, 48): one of the two may go."""
    x = net.input(6)
    left, right = net.unsqueeze(net.gemm(x, 8, name="a"), 2), net.unsqueeze(net.gemm(x, 6, name="b"), 1)
    net.head(net.reshape(net.op("Mul", left, right), 0, 48))


# ---- Squeeze and Unsqueeze -------------------------------------------------------------------------------------
@case(FREE, opsets=(7, 11, 13, 17))
def squeezed(net: Net) -> None:
    h = net.op("GlobalAveragePool", net.relu(net.stem()))
    net.head(net.squeeze(h, 2, 3))


@case(FREE, opsets=(7, 11, 13), net={"batch": 2})
def squeezed_without_axes(net: Net) -> None:
    """Every axis of size 1 goes: a channel axis that shrinks to 1 must not."""
    net.head(net.op("Squeeze", net.op("GlobalAveragePool", net.relu(net.stem()))))


@case(FREE, opsets=(7, 13))
def unsqueezed(net: Net) -> None:
    h = net.unsqueeze(net.relu(net.gemm(net.input(6), 8, name="a")), 2, 3)
    net.head(h)


@case(FREE)
def sequence_to_image(net: Net) -> None:
    """(N, L, C) -> (N, C, H, W)."""
    h = net.transpose(net.relu(net.tokens(length=6)), 0, 2, 1)
    net.head(net.reshape(h, 0, 8, 2, 3))


@case({"a": 8, "b": 8})
def weights_reshaped_on_their_way(net: Net) -> None:
    """A 1 x 1 convolution whose weight is a reshaped matrix: cut and scored as that matrix."""
    h = net.relu(net.stem())
    weight = net.reshape(net.constant(net.normal(8, 8), "w"), 8, 8, 1, 1, name="r")
    net.head(net.relu(net.op("Conv", h, weight, name="b")))


@case.parametrize()
def test_rule(case: Case) -> None:
    case.run()


Blocks = list[tuple[list[int], list[int]]]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((1, 8, 3, 3), (1, 72), [([0], [0]), ([1, 2, 3], [1])]),
        ((1, 8, 9), (1, 2, 4, 9), [([0], [0]), ([1], [1, 2]), ([2], [3])]),
        ((2, 3, 4), (2, 3, 4), [([0], [0]), ([1], [1]), ([2], [2])]),
        ((6, 4), (4, 6), [([0, 1], [0, 1])]),
        ((1, 5, 1), (5,), [([0], []), ([1], [0]), ([2], [])]),
        ((None, 8, 9), (None, 72), [([0], [0]), ([1, 2], [1])]),
        ((7, None, 8), (7, None, 2, 4), [([0], [0]), ([1], [1]), ([2], [2, 3])]),
    ],
)
def test_alignment(before: Sequence[int | None], after: Sequence[int | None], expected: Blocks) -> None:
    assert align(tuple(before), tuple(after)) == expected


@pytest.mark.parametrize("seed", range(20))
def test_aligned_blocks_have_equal_products(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = tuple(int(n) for n in rng.choice([1, 2, 3, 4, 6], 4))
    factors = [f for n in before for f in ((2, n // 2) if n % 2 == 0 and rng.random() < 0.5 else (n,))]
    blocks = align(before, tuple(factors))
    assert sorted(a for ins, _ in blocks for a in ins) == list(range(4))
    assert sorted(b for _, outs in blocks for b in outs) == list(range(len(factors)))
    for ins, outs in blocks:
        assert np.prod([before[a] for a in ins]) == np.prod([factors[b] for b in outs])
