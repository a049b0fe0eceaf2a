"""Operators that move values: their adjoints move the gradient back, and put zeros where nothing was read."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.grad.builder import SMALL, Value
from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import gradient


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
    """What was added is cropped, what was cropped becomes zero; copies of the border are added back to it."""
    mode = op.attribute("mode", "constant")
    if op.wants(2):
        raise NoRule("its value is computed")
    pads = op.integers("pads", 1)
    if pads is None:
        raise NoRule("its pads are missing")
    given = op.integers("axes", 3)
    axes = [op.axis(axis) for axis in (range(op.x.rank) if given is None else given)]
    amounts = dict(zip(axes, zip(pads[: len(axes)], pads[len(axes) :], strict=True), strict=True))
    if mode == "constant":
        op.give(0, op.dy.pad({axis: (-before, -after) for axis, (before, after) in amounts.items()}))
        return
    if mode not in ("reflect", "edge", "wrap") or min(pads, default=0) < 0:
        raise NoRule(f"mode {mode} with pads {pads} has no gradient rule")
    value = op.dy
    for axis, (before, after) in amounts.items():
        places = np.pad(np.arange(op.x.shape[axis]), (before, after), mode=mode)
        value = _added_back(value, places, axis, before, after)
    op.give(0, value)


def _added_back(dy: Value, places: NDArray[np.int64], axis: int, before: int, after: int) -> Value:
    """What was copied to the front and to the back of an axis, from these `places` of it, is added there."""
    size = places.size - before - after
    value = dy.slice({axis: (before, before + size, 1)})
    for start, end in ((0, before), (before + size, places.size)):
        if start < end:  # the copies come from a window of the axis, which may be much shorter
            source = places[start:end]
            first, width = int(source.min()), int(np.ptp(source)) + 1
            border = dy.slice({axis: (start, end, 1)}).along(np.eye(width)[source - first], axis)
            value = value + border.pad({axis: (first, size - first - width)})
    return value


@gradient("Gather")
def gather(op: Call) -> None:
    """Known indices are put back; others need ScatterElements with addition, which came with opset 16."""
    axis = op.axis(op.attribute("axis", 0))
    size = op.x.shape[axis]
    index = op.input(1)
    rows = math.prod(index.shape)
    dy = op.dy.reshape((*op.x.shape[:axis], rows, *op.x.shape[axis + 1 :]))
    found = op.known.constants.get(index.name)
    places = None if found is None else np.asarray(found).ravel() % size
    if places is not None and len(np.unique(places)) == rows:
        op.give(0, dy.put(places, axis, size))
    elif places is not None and rows * size <= SMALL:
        op.give(0, dy.along(np.eye(size)[places], axis))
    elif op.opset >= 16:
        column = index.reshape([rows if i == axis else 1 for i in range(op.x.rank)]).expand(dy.shape)
        inputs = [op.at.zeros(op.x.shape, dy.dtype), column, dy]
        options = {"axis": axis, "reduction": "add"}
        op.give(0, op.at.node("ScatterElements", inputs, op.x.shape, dy.dtype, **options))
    else:
        raise NoRule("its indices may repeat, and opset 16 is needed to add them up")


@gradient("GatherElements")
def gather_elements(op: Call) -> None:
    if op.opset < 16:
        raise NoRule("its indices may repeat, and opset 16 is needed to add them up")
    inputs = [op.at.zeros(op.x.shape, op.dy.dtype), op.input(1), op.dy]
    options = {"axis": op.axis(op.attribute("axis", 0)), "reduction": "add"}
    op.give(0, op.at.node("ScatterElements", inputs, op.x.shape, op.dy.dtype, **options))


@gradient("DepthToSpace", "SpaceToDepth")
def rearrange(op: Call) -> None:
    """Written as Reshape, Transpose, Reshape, which reads the same backwards."""
    block = int(op.attribute("blocksize"))
    (n, c, h, w) = op.y.shape if op.node.op_type == "SpaceToDepth" else op.x.shape
    c //= block * block
    if op.attribute("mode", "DCR") == "CRD":
        deep, order = (n, c, block, block, h, w), [0, 1, 4, 2, 5, 3]
    else:
        deep, order = (n, block, block, c, h, w), [0, 3, 4, 1, 5, 2]
    if op.node.op_type == "SpaceToDepth":
        op.give(0, op.dy.reshape(deep).transpose(order).reshape(op.x.shape))
    else:
        back = [int(i) for i in np.argsort(order)]
        op.give(0, op.dy.reshape([deep[axis] for axis in order]).transpose(back).reshape(op.x.shape))


@gradient("Expand", "Tile")
def repeat(op: Call) -> None:
    """Sum over the copies: a repeated axis of size d is read as (copies, d)."""
    inner = (1,) * (op.y.rank - op.x.rank) + op.x.shape
    shape: list[int] = []
    for wide, size in zip(op.y.shape, inner, strict=True):
        shape += [wide // size, size]
    copies = [2 * axis for axis in range(op.y.rank) if shape[2 * axis] > 1]
    op.give(0, op.dy.reshape(shape).sum(copies).reshape(op.x.shape))


@gradient("Trilu")
def triangle(op: Call) -> None:
    """What was kept is kept."""
    inputs = [op.dy, op.input(1)] if op.has(1) else [op.dy]
    op.give(0, op.at.node("Trilu", inputs, op.x.shape, op.dy.dtype, upper=op.attribute("upper", 1)))
