"""Conv against finite differences: strides, dilations, uneven pads, groups, one to three axes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grad_support import BILINEAR, N, check, draw
from hypothesis import assume, given, settings
from hypothesis import strategies as st

F = np.float32


def conv_case(
    shape: tuple[int, ...],
    weight: tuple[int, ...],
    *,
    bias: bool = True,
    seen: bool = True,
    opset: int = 17,
    **attributes: Any,
) -> None:
    feeds = {"x": draw(0, *shape, dtype=F), "w": draw(1, *weight, dtype=F)}
    if bias:
        feeds["b"] = draw(2, weight[0], dtype=F)
    check([N("Conv", list(feeds), ["y"], **attributes)], feeds, list(feeds), opset=opset, seen=seen, **BILINEAR)


@pytest.mark.parametrize(
    ("shape", "weight", "attributes"),
    [
        ((2, 3, 5, 4), (4, 3, 3, 3), {"pads": [1, 1, 1, 1]}),
        ((2, 3, 5, 5), (4, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((2, 3, 6, 6), (4, 3, 3, 3), {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((2, 3, 6, 5), (4, 3, 1, 1), {}),
        ((2, 3, 6, 5), (4, 3, 1, 1), {"strides": [2, 2]}),
        ((2, 3, 4, 4), (4, 3, 1, 1), {"pads": [1, 0, 2, 1]}),
        ((2, 4, 6, 5), (6, 2, 3, 2), {"group": 2, "pads": [1, 0, 2, 1]}),
        ((2, 4, 6, 5), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ((2, 4, 7, 6), (4, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ((2, 3, 5, 5), (6, 1, 3, 3), {"group": 3, "strides": [2, 1]}),
        ((1, 2, 7, 7), (3, 2, 3, 3), {"dilations": [2, 2], "pads": [3, 3, 3, 3]}),
        ((1, 2, 9, 8), (2, 2, 3, 2), {"dilations": [2, 3], "strides": [3, 2], "pads": [1, 2, 0, 1]}),
        ((1, 2, 6), (3, 2, 3), {"pads": [1, 1]}),
        ((1, 2, 8), (3, 2, 3), {"pads": [4, 5]}),
        ((2, 2, 9), (2, 1, 4), {"group": 2, "strides": [3], "pads": [1, 2]}),
        ((1, 2, 3, 4, 3), (3, 2, 2, 2, 2), {"pads": [1, 0, 0, 0, 1, 1]}),
        ((2, 2, 5, 6), (3, 2, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ((2, 2, 5, 6), (3, 2, 2, 2), {"auto_pad": "SAME_LOWER"}),
        ((2, 2, 5, 6), (3, 2, 2, 2), {"auto_pad": "VALID"}),
    ],
)
def test_conv(shape: tuple[int, ...], weight: tuple[int, ...], attributes: dict[str, Any]) -> None:
    conv_case(shape, weight, **attributes)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 22])
@pytest.mark.parametrize("group", [1, 4])
@pytest.mark.parametrize("stride", [1, 2])
def test_conv_in_old_opsets(opset: int, group: int, stride: int) -> None:
    conv_case((2, 4, 6, 5), (4, 4 // group, 3, 3), group=group, strides=[stride] * 2, pads=[1, 1, 1, 1], opset=opset)


@given(st.data())
@settings(max_examples=120, deadline=None, derandomize=True)
def test_conv_over_random_windows(data: Any) -> None:
    rank = data.draw(st.integers(1, 2))
    group = data.draw(st.sampled_from([1, 1, 2, 3]))
    channels, filters = group * data.draw(st.sampled_from([1, 2, 7])), group * data.draw(st.integers(1, 2))
    axes = range(rank)
    kernel = [data.draw(st.integers(1, 3)) for _ in axes]
    strides = [data.draw(st.integers(1, 3)) for _ in axes]
    dilations = [data.draw(st.integers(1, 2)) for _ in axes]
    pads = [data.draw(st.integers(0, 4)) for _ in range(2 * rank)]
    size = [data.draw(st.integers(1, 6)) for _ in axes]
    assume(all(size[i] + pads[i] + pads[rank + i] > (kernel[i] - 1) * dilations[i] for i in axes))
    conv_case(
        (data.draw(st.integers(1, 2)), channels, *size), (filters, channels // group, *kernel),
        bias=False, seen=False, group=group, strides=strides, dilations=dilations, pads=pads,
    )  # fmt: skip


def test_weights_over_large_images() -> None:
    """Above some size samples are no longer joined to one product."""
    feeds = {"x": draw(0, 2, 6, 24, 23, dtype=F), "w": draw(1, 2, 6, 3, 3, dtype=F)}
    nodes = [N("Conv", ["x", "w"], ["y"], pads=[1, 0, 1, 1])]
    check(nodes, feeds, ["w"], step=1.0, tolerance=1e-5)


@pytest.mark.parametrize(
    ("shape", "weight", "attributes"),
    [
        ((2, 3, 4, 3), (3, 2, 3, 3), {}),
        ((2, 3, 4, 3), (3, 2, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
        ((2, 4, 3, 3), (4, 2, 2, 2), {"strides": [2, 2], "group": 2}),
        ((2, 3, 3, 3), (3, 1, 4, 4), {"strides": [2, 2], "pads": [1, 0, 0, 1], "group": 3}),
        ((2, 6, 3, 3), (6, 2, 3, 3), {"dilations": [2, 1], "pads": [1, 0, 2, 1]}),
        ((1, 2, 4), (2, 3, 3), {"strides": [3], "output_shape": [11]}),
        ((1, 2, 4, 4), (2, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ((1, 2, 4, 4), (2, 3, 3, 3), {"strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ],
)
@pytest.mark.parametrize("opset", [7, 17])
def test_conv_transpose(
    shape: tuple[int, ...], weight: tuple[int, ...], attributes: dict[str, Any], opset: int
) -> None:
    filters = weight[1] * attributes.get("group", 1)
    feeds = {"x": draw(0, *shape, dtype=F), "w": draw(1, *weight, dtype=F), "b": draw(2, filters, dtype=F)}
    check([N("ConvTranspose", list(feeds), ["y"], **attributes)], feeds, list(feeds), opset=opset, **BILINEAR)
