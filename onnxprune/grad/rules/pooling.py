"""Pools: an average is spread over its window, a maximum goes back to where it was found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.grad.builder import Value
from onnxprune.grad.call import Call, NoRule
from onnxprune.grad.registry import gradient
from onnxprune.grad.rules.windows import Window, columns, unit_filters, window

LOWEST = -1e30


@gradient("GlobalAveragePool")
def global_average(op: Call) -> None:
    count = math.prod(op.x.shape[2:])
    op.give(0, (op.dy * (1 / count)).expand(op.x.shape))


@gradient("AveragePool")
def average_pool(op: Call) -> None:
    """Each place of a window gets dy / count; the count is smaller at the border unless padding is included."""
    if op.attribute("ceil_mode", 0):
        raise NoRule("ceil_mode 1 has no gradient rule")
    frame = window(op, tuple(op.attribute("kernel_shape")), op.x.shape[2:], op.y.shape[2:])
    dy = (
        op.dy * op.at.constant(1 / _counts(frame), op.dy.dtype)
        if not op.attribute("count_include_pad", 0)
        else (op.dy * (1 / math.prod(frame.kernel)))
    )
    op.give(0, spread(dy, frame, op.x.shape))


def _counts(frame: Window) -> NDArray[np.float64]:
    """How many real places each window covers, of shape `narrow`."""
    counts = np.ones(())
    for i in frame.axes:
        first = np.arange(frame.narrow[i]) * frame.strides[i] - frame.before[i]
        places = first[:, None] + np.arange(frame.kernel[i]) * frame.dilations[i]
        counts = np.multiply.outer(counts, ((places >= 0) & (places < frame.wide[i])).sum(axis=1))
    return counts


def spread(dy: Value, frame: Window, shape: tuple[int, ...]) -> Value:
    """The adjoint of summing over windows: every place gets the sum of dy over the windows that cover it."""
    images = dy.reshape((shape[0] * shape[1], 1, *frame.narrow))
    ones = dy.at.constant(np.ones((1, 1, *frame.kernel)), dy.dtype)
    wide = (shape[0] * shape[1], 1, *frame.wide)
    found = dy.at.node("ConvTranspose", [images, ones], wide, dy.dtype, **frame.options(spare=True))
    return found.reshape(shape)


@gradient("MaxPool")
def max_pool(op: Call) -> None:
    """dy goes to the place of the maximum.

    From opset 16 on by scattering with the indices that a second run of the pool gives; the forward node stays as it
    is. Before, ScatterElements cannot add: taps that equal the maximum share dy.
    """
    if op.attribute("ceil_mode", 0) and op.opset < 16:
        raise NoRule("ceil_mode 1 has no gradient rule before opset 16")
    if op.attribute("storage_order", 0):
        raise NoRule("storage_order 1 has no gradient rule")
    op.give(0, _scattered(op) if op.opset >= 16 else _shared(op))


def _scattered(op: Call) -> Value:
    """Indices count through the whole tensor (N, C, ...)."""
    places = op.at.second("MaxPool", [op.x], op.y.shape, TensorProto.INT64, **op.options())
    flat, count = (math.prod(op.x.shape),), (math.prod(op.y.shape),)
    inputs = [op.at.zeros(flat, op.dy.dtype), places.reshape(count), op.dy.reshape(count)]
    return op.at.node("ScatterElements", inputs, flat, op.dy.dtype, reduction="add").reshape(op.x.shape)


def _shared(op: Call) -> Value:
    """Padding must never win: it is filled with a number below all others, but finite, for it is multiplied by 0."""
    frame = window(op, tuple(op.attribute("kernel_shape")), op.x.shape[2:], op.y.shape[2:])
    shape = op.x.shape
    bounds = [(frame.before[i], frame.after[i]) for i in frame.axes]
    padded = op.x.pad({2 + i: bound for i, bound in enumerate(bounds)}, value=LOWEST)
    inner = replace(frame, before=(0,) * len(bounds), wide=padded.shape[2:])
    taps, places = math.prod(frame.kernel), math.prod(frame.narrow)
    images = (shape[0] * shape[1], 1)
    seen = columns(padded.reshape((*images, *padded.shape[2:])), inner)
    highest = (~(seen < op.y.reshape((*images, places)))).cast(op.dy.dtype)
    shares = highest * (op.dy.reshape((*images, places)) / highest.sum([1]))
    units = op.at.constant(unit_filters(frame), op.dy.dtype)
    inputs = [shares.reshape((images[0], taps, *frame.narrow)), units]
    wide = (*images, *frame.wide)
    return op.at.node("ConvTranspose", inputs, wide, op.dy.dtype, **frame.options(spare=True)).reshape(shape)
