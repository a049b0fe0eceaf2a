"""Depthwise convolutions as operators, against the dense operator."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.model.load import load
from onnxprune.sparse import rewrite
from tests.sparse.layers import TOLERANCE, Case, conv, error
from tests.sparse.sessions import needs_library, session

SIZES = [(1, 1), (7, 7), (8, 9), (14, 14), (5, 33), (40, 16), (30, 61), (70, 67)]
SHAPES = {
    "three": {"pads": [1, 1, 1, 1]},
    "strided": {"pads": [1, 1, 1, 1], "strides": [2, 2]},
    "uneven": {"pads": [2, 0, 1, 3], "strides": [1, 3], "dilations": [2, 1]},
    "tall steps": {"pads": [1, 1, 1, 1], "strides": [2, 1]},
}


def check(case: Case) -> None:
    model = load(case.model())
    done = rewrite(model, {}, depthwise=["w"])
    assert list(done.operators.values()) == [f"DepthwiseConv{case.activation}"]
    sparse = done.model.complete_proto()
    feed = case.feed()
    expected = session(case.model(), library=False).run(None, feed)[0]
    assert error(session(sparse, library=True, threads=2).run(None, feed)[0], expected) <= TOLERANCE
    assert error(session(sparse, library=False).run(None, feed)[0], expected) <= TOLERANCE


@needs_library
@pytest.mark.parametrize("name", SHAPES)
def test_sizes(name: str) -> None:
    for height, width in SIZES:
        if name == "uneven" and (height, width) == (1, 1):
            continue  # smaller than the kernel
        check(conv(f"2x6x{height}x{width}", "6x1x3x3", group=6, activation="Relu", **SHAPES[name]))


@needs_library
def test_kernels() -> None:
    check(conv("1x4x20x20", "4x1x5x5", group=4, pads=[2, 2, 2, 2], activation="Clip"))
    check(conv("1x4x20x9", "4x1x4x2", group=4))
    check(conv("2x4x50", "4x1x3", group=4, pads=[1, 1], strides=[2]))
    check(conv("1x4x12x12", "12x1x3x3", group=4, pads=[1, 1, 1, 1]))  # three filters a channel


@needs_library
def test_random_windows() -> None:
    rng = np.random.default_rng(0)
    for seed in range(40):
        kernel, stride, dilation, pads = (
            rng.integers(low, high, n) for low, high, n in ((1, 6, 2), (1, 4, 2), (1, 3, 2), (0, 4, 4))
        )
        least = [(int(kernel[i]) - 1) * int(dilation[i]) + 1 for i in (0, 1)]
        size = [least[i] + int(rng.integers(0, 45)) for i in (0, 1)]
        attributes = {"strides": stride.tolist(), "dilations": dilation.tolist(), "pads": pads.tolist(), "group": 3}
        check(Case("conv", (1, 3, *size), (3, 1, *kernel.tolist()), 1, 0.0, attributes, seed=seed))
