"""Pools, reductions and batch normalisation against finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grad_support import BILINEAR, SINGLE, N, check, draw

F = np.float32


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "count_include_pad": 1},
        {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 0, 1]},
        {"kernel_shape": [2, 2], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
    ],
)
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
@pytest.mark.parametrize("opset", [7, 17])
def test_average_pool(attributes: dict[str, Any], size: tuple[int, int], opset: int) -> None:
    x = draw(0, 2, 3, *size, dtype=F)
    check([N("AveragePool", ["x"], ["y"], **attributes)], {"x": x}, ["x"], opset=opset, **BILINEAR)


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3]},
        {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [1, 0, 0, 1]},
        {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2]},
        {"kernel_shape": [2, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"},
    ],
)
@pytest.mark.parametrize("size", [(6, 6), (5, 7)])
@pytest.mark.parametrize("opset", [8, 12, 17, 22])
def test_max_pool(attributes: dict[str, Any], size: tuple[int, int], opset: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.permutation(2 * 2 * size[0] * size[1]).reshape(2, 2, *size).astype(F) - 60
    check([N("MaxPool", ["x"], ["y"], **attributes)], {"x": x}, ["x"], opset=opset, step=0.25)


@pytest.mark.parametrize("opset", [10, 16])
def test_max_pool_dilated_in_one_dimension(opset: int) -> None:
    x = np.random.default_rng(0).permutation(36).reshape(2, 2, 9).astype(F)
    nodes = [N("MaxPool", ["x"], ["y"], kernel_shape=[3], dilations=[2], strides=[2], pads=[1, 1])]
    check(nodes, {"x": x}, ["x"], opset=opset, step=0.25)


def test_max_pool_dilated_with_ceiling() -> None:
    x = np.random.default_rng(0).permutation(98).reshape(1, 2, 7, 7).astype(F)
    nodes = [N("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 2], strides=[2, 2], ceil_mode=1)]
    check(nodes, {"x": x}, ["x"], step=0.25)


def test_global_average_pool() -> None:
    check([N("GlobalAveragePool", ["x"], ["y"])], {"x": draw(0, 2, 3, 4, 2, dtype=F)}, ["x"], **BILINEAR)


@pytest.mark.parametrize("name", ["ReduceSum", "ReduceMean"])
@pytest.mark.parametrize("axes", [[1], [0, 2], [-1], None])
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("opset", [7, 13, 18])
def test_reductions(name: str, axes: list[int] | None, keep: int, opset: int) -> None:
    as_input = opset >= (13 if name == "ReduceSum" else 18)
    attributes: dict[str, Any] = {"keepdims": keep}
    constants = {}
    if axes is not None and as_input:
        constants["axes"] = np.array(axes, np.int64)
    elif axes is not None:
        attributes["axes"] = axes
    nodes = [N(name, ["x", *constants], ["h"], **attributes), N("Tanh", ["h"], ["y"])]
    check(nodes, {"x": draw(0, 2, 3, 4) / 4}, ["x"], constants=constants, opset=opset)


def test_reduction_of_nothing() -> None:
    check([N("ReduceSum", ["x"], ["y"], noop_with_empty_axes=1)], {"x": draw(0, 2, 3)}, ["x"])


@pytest.mark.parametrize("shape", [(3, 4, 2, 2), (5, 4)])
def test_batch_normalization(shape: tuple[int, ...]) -> None:
    feeds = {"x": draw(0, *shape)}
    feeds |= {name: draw(seed, 4, low=0.4) for seed, name in enumerate(["scale", "bias", "mean", "var"])}
    check([N("BatchNormalization", list(feeds), ["y"], epsilon=1e-3)], feeds, list(feeds))


@pytest.mark.parametrize("opset", [7, 9, 14])
def test_batch_normalization_in_old_opsets(opset: int) -> None:
    feeds = {"x": draw(0, 3, 4, 2, dtype=F)}
    feeds |= {name: draw(seed, 4, low=0.4, dtype=F) for seed, name in enumerate(["scale", "bias", "mean", "var"])}
    nodes = [N("BatchNormalization", list(feeds), ["y"])]
    check(nodes, feeds, ["x", "scale", "bias"], opset=opset, **SINGLE)


@pytest.mark.parametrize(
    "name", ["ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp"]
)
@pytest.mark.parametrize("axes", [[1], [0, 2]])
@pytest.mark.parametrize("opset", [11, 18])
def test_other_reductions(name: str, axes: list[int], opset: int) -> None:
    constants = {"axes": np.array(axes, np.int64)} if opset >= 18 else {}
    attributes = {} if constants else {"axes": axes}
    nodes = [N(name, ["x", *constants], ["y"], keepdims=0, **attributes)]
    check(nodes, {"x": draw(0, 2, 3, 4, dtype=F)}, ["x"], constants=constants, opset=opset, **SINGLE)


def test_global_max_pool() -> None:
    check([N("GlobalMaxPool", ["x"], ["y"])], {"x": draw(0, 2, 3, 3, 2, dtype=F)}, ["x"], **SINGLE)


@pytest.mark.parametrize("options", [{}, {"exclusive": 1}, {"reverse": 1}])
def test_cumulative_sum(options: dict[str, int]) -> None:
    constants = {"axis": np.array(1)}
    check([N("CumSum", ["x", "axis"], ["y"], **options)], {"x": draw(0, 2, 3)}, ["x"], constants=constants)
