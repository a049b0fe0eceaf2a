"""Normalisations and softmax against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
from grad_support import SINGLE, N, check, draw

F = np.float32


@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize(("axis", "opset"), [(-1, 17), (1, 13), (1, 11), (2, 7), (None, 11), (None, 17)])
def test_softmax(name: str, axis: int | None, opset: int) -> None:
    nodes = [N(name, ["x"], ["y"], **({} if axis is None else {"axis": axis}))]
    check(nodes, {"x": draw(0, 2, 3, 4)}, ["x"], opset=opset)


@pytest.mark.parametrize("axis", [-1, 1])
@pytest.mark.parametrize("bias", [True, False])
def test_layer_normalization(axis: int, bias: bool) -> None:
    inner = (4,) if axis == -1 else (3, 4)
    feeds = {"x": draw(0, 2, 3, 4), "s": draw(1, *inner)} | ({"b": draw(2, *inner)} if bias else {})
    check([N("LayerNormalization", list(feeds), ["y"], axis=axis, epsilon=1e-3)], feeds, list(feeds))


def test_rms_normalization() -> None:
    feeds = {"x": draw(0, 2, 3, 4, dtype=F), "s": draw(1, 4, dtype=F)}
    check([N("RMSNormalization", ["x", "s"], ["y"])], feeds, list(feeds), opset=23, **SINGLE)


@pytest.mark.parametrize("shape", [(2, 3, 4, 3), (2, 3, 7)])
@pytest.mark.parametrize("opset", [7, 17])
def test_instance_normalization(shape: tuple[int, ...], opset: int) -> None:
    feeds = {"x": draw(0, *shape, dtype=F), "s": draw(1, 3, dtype=F), "b": draw(2, 3, dtype=F)}
    check([N("InstanceNormalization", list(feeds), ["y"])], feeds, list(feeds), opset=opset, **SINGLE)


@pytest.mark.parametrize(("opset", "scales"), [(18, 2), (21, 6)])
def test_group_normalization(opset: int, scales: int) -> None:
    feeds = {"x": draw(0, 2, 6, 2, 3, dtype=F), "s": draw(1, scales, dtype=F), "b": draw(2, scales, dtype=F)}
    nodes = [N("GroupNormalization", list(feeds), ["y"], num_groups=2)]
    check(nodes, feeds, list(feeds), opset=opset, **SINGLE)


@pytest.mark.parametrize("axis", [-1, 1])
def test_lp_normalization(axis: int) -> None:
    check([N("LpNormalization", ["x"], ["y"], axis=axis)], {"x": draw(0, 2, 3, 4)}, ["x"])
