"""Operators that move values: their adjoints move the gradient back, and put zeros where nothing was read."""

from __future__ import annotations

import numpy as np

from onnxprune.grad.call import Call, NoRule
from onnxprune.grad.registry import gradient


@gradient("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(op: Call) -> None:
    """The order of the elements does not change."""
    op.give(0, op.dy.reshape(op.x.shape))


@gradient("Transpose")
def transpose(op: Call) -> None:
    order = op.attribute("perm") or list(range(op.x.rank))[::-1]
    op.give(0, op.dy.transpose([int(i) for i in np.argsort(order)]))


@gradient("Concat")
def concat(op: Call) -> None:
    axis = op.axis(op.attribute("axis", 1))
    start = 0
    for slot in range(len(op.node.input)):
        end = start + op.shape(slot)[axis]
        if op.wants(slot):
            op.give(slot, op.dy.slice({axis: (start, end, 1)}))
        start = end


@gradient("Split")
def split(op: Call) -> None:
    """The sizes follow from the outputs' shapes, wherever the operator keeps them."""
    op.give(0, op.at.concat(op.gradients(), op.axis(op.attribute("axis", 0))))


@gradient("Slice")
def slice_(op: Call) -> None:
    starts, ends = op.integers("starts", 1), op.integers("ends", 2)
    if starts is None or ends is None:
        raise NoRule("its bounds are missing")
    axes = op.integers("axes", 3) or list(range(len(starts)))
    steps = op.integers("steps", 4) or [1] * len(starts)
    value = op.dy
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = op.x.shape[op.axis(axis)]
        places = np.arange(size)[_bounds(start, end, step, size)]
        value = value.put(places, op.axis(axis), size)
    op.give(0, value)


def _bounds(start: int, end: int, step: int, size: int) -> slice:
    """ONNX bounds as Python's: both count from the end if negative, but -size - 1 and below ends a backward walk."""
    return slice(start, None if step < 0 and end < -size else end, step)


@gradient("Pad")
def pad(op: Call) -> None:
    """Constant mode: what was added is cropped, what was cropped becomes zero."""
    if op.attribute("mode", "constant") != "constant":
        raise NoRule(f"mode {op.attribute('mode')} has no gradient rule")
    if op.wants(2):
        raise NoRule("its value is computed")
    pads = op.integers("pads", 1)
    if pads is None:
        raise NoRule("its pads are missing")
    axes = op.integers("axes", 3) or list(range(op.x.rank))
    half = len(pads) // 2
    op.give(0, op.dy.pad({op.axis(axis): (-pads[i], -pads[half + i]) for i, axis in enumerate(axes)}))


@gradient("Expand", "Tile")
def repeat(op: Call) -> None:
    """Sum over the copies: a repeated axis of size d is read as (copies, d)."""
    inner = (1,) * (op.y.rank - op.x.rank) + op.x.shape
    shape: list[int] = []
    for wide, size in zip(op.y.shape, inner, strict=True):
        shape += [wide // size, size]
    copies = [2 * axis for axis in range(op.y.rank) if shape[2 * axis] > 1]
    op.give(0, op.dy.reshape(shape).sum(copies).reshape(op.x.shape))
