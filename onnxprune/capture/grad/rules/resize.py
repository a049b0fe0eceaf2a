"""Resize: along each axis a matrix of interpolation weights, whose transpose carries the gradient back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import gradient

Numbers = NDArray[np.float64]
LARGEST = 2**24
"""Entries of a matrix of weights up to which it is written down."""

COORDINATES: dict[str, Callable[[Numbers, float, int, int], Numbers]] = {
    "half_pixel": lambda i, scale, size, wide: (i + 0.5) / scale - 0.5,
    "pytorch_half_pixel": lambda i, scale, size, wide: (i + 0.5) / scale - 0.5 if wide > 1 else 0 * i,
    "asymmetric": lambda i, scale, size, wide: i / scale,
    "align_corners": lambda i, scale, size, wide: i * (size - 1) / (wide - 1) if wide > 1 else 0 * i,
    "half_pixel_symmetric": lambda i, scale, size, wide: (
        size / 2 * (1 - wide / (scale * size)) + (i + 0.5) / scale - 0.5
    ),
    "tf_half_pixel_for_nn": lambda i, scale, size, wide: (i + 0.5) / scale,
}
"""Where output i reads, in indices of the input: scale, size of the input, size of the output."""

ROUNDING: dict[str, Callable[[Numbers], Numbers]] = {
    "round_prefer_floor": lambda x: np.ceil(x - 0.5),
    "round_prefer_ceil": lambda x: np.floor(x + 0.5),
    "floor": np.floor,
    "ceil": np.ceil,
}


@gradient("Resize", "Upsample")
def resize(op: Call) -> None:
    """Modes nearest and linear, which treat the axes one after the other."""
    for name, usual in (("antialias", 0), ("exclude_outside", 0), ("keep_aspect_ratio_policy", "stretch")):
        if op.attribute(name, usual) != usual:
            raise NoRule(f"{name} {op.attribute(name)} has no gradient rule")
    scales = _scales(op)
    value = op.dy
    for axis, (wide, size) in enumerate(zip(op.y.shape, op.x.shape, strict=True)):
        if wide == size and scales[axis] == 1:
            continue
        if wide * size > LARGEST:
            raise NoRule(f"its axis {axis} is too long ({size} to {wide})")
        value = value.along(_weights(op, scales[axis], size, wide), axis)
    op.give(0, value)


def _scales(op: Call) -> list[float]:
    """One per axis: the attribute or input `scales`, or what the sizes of input and output say."""
    axes = [op.axis(axis) for axis in op.attribute("axes") or range(op.x.rank)]
    found = op.attribute("scales")
    if found is None and (op.node.op_type == "Upsample" or op.opset == 10):
        found = op.constant(1)
    elif found is None and op.has(2):
        found = op.constant(2)
    scales = [wide / size for wide, size in zip(op.y.shape, op.x.shape, strict=True)]
    if found is not None and len(found):
        for axis, scale in zip(axes, found, strict=True):
            scales[axis] = float(scale)
    return scales


def _weights(op: Call, scale: float, size: int, wide: int) -> Numbers:
    """(wide, size): what each of the outputs along an axis takes from each of the inputs."""
    old = op.node.op_type == "Upsample" or op.opset == 10
    if old and scale < 1:
        raise NoRule("shrinking has no gradient rule before opset 11")
    mode, where = op.attribute("mode", "nearest"), op.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = ROUNDING["floor" if old else op.attribute("nearest_mode", "round_prefer_floor")]
    coordinates = COORDINATES.get("asymmetric" if old else where)
    if coordinates is None or mode not in ("nearest", "linear", "bilinear"):
        raise NoRule(f"mode {mode} with coordinates {where} has no gradient rule")
    places = coordinates(np.arange(wide, dtype=np.float64), scale, size, wide)
    rows, weights = np.arange(wide), np.zeros((wide, size))
    if mode == "nearest":
        weights[rows, np.clip(rounding(places), 0, size - 1).astype(np.int64)] = 1
        return weights
    places = np.clip(places, 0, size - 1)
    first = np.floor(places).astype(np.int64)
    np.add.at(weights, (rows, first), 1 - (places - first))
    np.add.at(weights, (rows, np.minimum(first + 1, size - 1)), places - first)
    return weights
