"""Pools: an average is spread over its window, a maximum goes back to where it was found."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import gradient
from onnxprune.capture.grad.rules.windows import Window, columns, unit_filters, window

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
    """Axis by axis, for a maximum over a window is one over its columns of one over its rows: k + k taps, not k * k."""
    frame = window(op, tuple(op.attribute("kernel_shape")), op.x.shape[2:], op.y.shape[2:])
    images = (op.x.shape[0] * op.x.shape[1], 1)
    stages, x = [], op.x.reshape((*images, *frame.wide))
    for i in reversed(frame.axes):
        single = _one_axis(frame, i, x.shape[2:])
        y = x.at.node("MaxPool", [x], (*images, *single.narrow), x.dtype, **_options(single))
        stages.append((single, x, y))
        x = y
    dy = op.dy.reshape(x.shape)
    for single, x, y in reversed(stages):
        dy = _shares(x, y, dy, single)
    return dy.reshape(op.x.shape)


def _one_axis(frame: Window, i: int, wide: tuple[int, ...]) -> Window:
    """The windows along axis i alone, over images of size `wide`."""

    def only(values: tuple[int, ...], usual: int) -> tuple[int, ...]:
        return tuple(value if axis == i else usual for axis, value in enumerate(values))

    narrow = tuple(frame.narrow[axis] if axis == i else size for axis, size in enumerate(wide))
    kernel, strides, dilations = (only(values, 1) for values in (frame.kernel, frame.strides, frame.dilations))
    return Window(kernel, strides, dilations, only(frame.before, 0), wide, narrow)


def _options(frame: Window) -> dict[str, list[int]]:
    """Attributes of a MaxPool; dilations, which came with opset 10, only where they are needed."""
    options = {"kernel_shape": [*frame.kernel], **frame.options()}
    if all(d == 1 for d in frame.dilations):
        del options["dilations"]
    return options


def _shares(x: Value, y: Value, dy: Value, frame: Window) -> Value:
    """dL/dx of y = MaxPool(x) with one channel: taps that equal the maximum share dy.

    Padding must never win: it is filled with a number below all others, but finite, for it is multiplied by 0.
    """
    amounts = {2 + i: (frame.before[i], max(0, frame.after[i])) for i in frame.axes}
    padded = x.pad(amounts, value=LOWEST)
    inner = replace(frame, before=(0,) * len(amounts), wide=padded.shape[2:])
    taps, places = math.prod(frame.kernel), math.prod(frame.narrow)
    seen = columns(padded, inner)
    hits = (~(seen < y.reshape((x.shape[0], 1, places)))).cast(dy.dtype)
    shares = hits * (dy.reshape((x.shape[0], 1, places)) / hits.sum([1]))
    inputs = [shares.reshape((x.shape[0], taps, *frame.narrow)), x.at.constant(unit_filters(frame), dy.dtype)]
    return x.at.node("ConvTranspose", inputs, x.shape, dy.dtype, **frame.options(spare=True))
