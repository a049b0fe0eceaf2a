"""Resize against finite differences: it is linear, so they are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from grad_support import BILINEAR, N, check, draw

F = np.float32


def scaled(opset: int, factors: tuple[float, ...], **attributes: Any) -> None:
    scales = np.array((1.0, 1.0, *factors), F)
    operator = "Upsample" if opset < 10 else "Resize"
    inputs = ["x", "scales"] if opset <= 10 else ["x", "roi", "scales"]
    if opset < 9:
        nodes, constants = [N(operator, ["x"], ["y"], scales=scales.tolist(), **attributes)], {}
    else:
        nodes, constants = [N(operator, inputs, ["y"], **attributes)], {"scales": scales, "roi": np.zeros(0, F)}
    check(nodes, {"x": draw(0, 2, 2, 4, 3, dtype=F)}, ["x"], constants=constants, opset=opset, **BILINEAR)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 19])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_doubled(opset: int, mode: str) -> None:
    scaled(opset, (2.0, 2.0), mode=mode)


@pytest.mark.parametrize("where", ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("factors", [(1.5, 3.0), (0.5, 2.0), (0.25, 1.0)])
def test_coordinates(where: str, mode: str, factors: tuple[float, ...]) -> None:
    scaled(13, factors, mode=mode, coordinate_transformation_mode=where)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_rounding(rounding: str) -> None:
    scaled(13, (1.5, 2.0), mode="nearest", nearest_mode=rounding, coordinate_transformation_mode="asymmetric")


def test_sizes() -> None:
    nodes = [N("Resize", ["x", "", "", "sizes"], ["y"], mode="linear")]
    constants = {"sizes": np.array([2, 2, 5, 7])}
    check(nodes, {"x": draw(0, 2, 2, 4, 3, dtype=F)}, ["x"], constants=constants, **BILINEAR)


def test_chosen_axes() -> None:
    nodes = [N("Resize", ["x", "", "s"], ["y"], mode="nearest", axes=[3, 2])]
    constants = {"s": np.array([3.0, 2.0], F)}
    check(nodes, {"x": draw(0, 1, 2, 4, 3, dtype=F)}, ["x"], constants=constants, opset=18, **BILINEAR)
