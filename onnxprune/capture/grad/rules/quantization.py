"""Rounding, as if it were none: straight through where a number lies within its grid, 0 outside.

Bengio et al., Estimating or propagating gradients through stochastic neurons, 2013. The slope of a scale is that of
LSQ (Esser et al., Learned step size quantization, ICLR 2020): with q = clip(round(x / s) + z) and y = s (q - z),

    dL/ds = dL/dy (q - z - x / s) within the grid,   dL/dy (q - z) outside.

The gradient of an integer is that of the number before rounding, in units of one step.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import gradient
from onnxprune.model.grids import INTEGERS, bounds_of

MICROSOFT = "com.microsoft"
"""Of these operators for 16 bits before opset 21."""


@gradient("Round")
def round_(op: Call) -> None:
    op.give(0, op.dy)


@gradient("QuantizeLinear", rounds=True)
@gradient("QuantizeLinear", domain=MICROSOFT, rounds=True)
def quantize(op: Call) -> None:
    """x (any), scale, zero point -> integers. What rounds to a number of the grid lies within it."""
    low, high = bounds_of(_type(op, op.node.output[0]))
    x, scale, zero = op.x.cast(TensorProto.FLOAT), _spread(op, 1, op.x), _spread(op, 2, op.x)
    within = (x > scale * (low - 0.5 - zero)) & (x < scale * (high + 0.5 - zero))
    slope = (op.dy / scale).where(within)
    if op.wants(0):
        op.give(0, slope.cast(op.x.dtype))
    if op.wants(1):
        _give_scale(op, -(slope * x / scale))
    if op.wants(2):
        raise NoRule("its zero point is computed")


@gradient("DequantizeLinear")
@gradient("DequantizeLinear", domain=MICROSOFT)
def dequantize(op: Call) -> None:
    """Integers, scale, zero point -> scale * (q - z)."""
    _type(op, op.node.input[0])
    dy = op.dy.cast(TensorProto.FLOAT)
    if op.wants(0):
        op.give(0, dy * _spread(op, 1, op.x))
    if op.wants(1):
        _give_scale(op, dy * (op.x.cast(TensorProto.FLOAT) - _spread(op, 2, op.x)))
    if op.wants(2):
        raise NoRule("its zero point is computed")


def _type(op: Call, name: str) -> int:
    """Of the integers."""
    found = op.known.type(name)
    if found not in INTEGERS:
        raise NoRule("its grid is not one of integers")
    return found


def _axis(op: Call, rank: int) -> int | None:
    """Of the channels or the blocks that have scales of their own; None if one scale is for all."""
    scale = op.input(1)
    if op.attribute("block_size", 0) or (scale.rank == 1 and scale.shape != (1,)):
        return op.axis(op.attribute("axis", 1), rank)
    return None


def _spread(op: Call, slot: int, x: Value) -> Value:
    """The scale or the zero point in float32, in a shape that broadcasts with x."""
    if not op.has(slot):
        return op.at.scalar(0, TensorProto.FLOAT)
    part, axis = op.input(slot).cast(TensorProto.FLOAT), _axis(op, x.rank)
    if axis is None:
        return part.reshape(())
    block = op.attribute("block_size", 0)
    if block:
        return part.take(np.arange(x.shape[axis]) // block, axis)
    return part.reshape((x.shape[axis], *[1] * (x.rank - 1 - axis)))


def _give_scale(op: Call, slope: Value) -> None:
    """The gradient of the scale, of those of its copies for each number."""
    scale, axis = op.input(1), _axis(op, slope.rank)
    block = op.attribute("block_size", 0)
    if axis is None:
        slope = slope.sum(range(slope.rank), keep=False).reshape(scale.shape)
    elif block:
        blocks = np.arange(slope.shape[axis]) // block
        slope = slope.along(np.eye(scale.shape[axis])[blocks], axis)
    else:
        slope = slope.sum([i for i in range(slope.rank) if i != axis], keep=False)
    op.give(1, slope.cast(scale.dtype))
