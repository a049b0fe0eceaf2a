"""Conv: the gradient for x is a convolution with the mirrored kernel, that for W a product of dy and the taps of x.

Dumoulin & Visin, A guide to convolution arithmetic for deep learning, 2016, chapter 4.
"""

from __future__ import annotations

import math
from dataclasses import replace

from onnxprune.capture.grad import native
from onnxprune.capture.grad.builder import Shape, Value
from onnxprune.capture.grad.call import Call
from onnxprune.capture.grad.registry import gradient
from onnxprune.capture.grad.rules.windows import Window, columns, tapped, transposed_window, window

JOINED_BELOW = 512
"""Places of an image below which the samples of a batch are joined to one product."""
SHIFTED_FROM = 16
"""Columns of that product from which on it is faster than im2col."""


@gradient("Conv")
def conv(op: Call) -> None:
    """X (N, C, *wide), W (M, C/g, *kernel), Y (N, M, *narrow)."""
    weight, group = op.input(1), int(op.attribute("group", 1))
    frame = window(op, weight.shape[2:], op.x.shape[2:], op.y.shape[2:])
    if op.wants(0):
        op.give(0, data_gradient(op.dy, weight, frame, group, op.x.shape))
    if op.wants(1):
        op.give(1, weight_gradient(op.x, op.dy, frame, group, weight.shape))
    if op.wants(2):
        op.give(2, op.dy.sum([0, *range(2, op.dy.rank)], keep=False))


@gradient("ConvTranspose")
def conv_transpose(op: Call) -> None:
    """X (N, C, *narrow), W (C, M/g, *kernel), Y (N, M, *wide): a Conv from Y to X, read backwards."""
    weight, group = op.input(1), int(op.attribute("group", 1))
    frame = transposed_window(op, weight.shape[2:], op.y.shape[2:], op.x.shape[2:])
    if op.wants(0):
        options = {"group": group, "kernel_shape": [*frame.kernel], **frame.options()}
        op.give(0, op.at.node("Conv", [op.dy, weight], op.x.shape, op.dy.dtype, **options))
    if op.wants(1):
        op.give(1, weight_gradient(op.dy, op.x, frame, group, weight.shape))
    if op.wants(2):
        op.give(2, op.dy.sum([0, *range(2, op.dy.rank)], keep=False))


def data_gradient(dy: Value, weight: Value, frame: Window, group: int, shape: Shape) -> Value:
    """dL/dX of a Conv. Without strides it is a Conv again, which runs faster than ConvTranspose."""
    if all(s == 1 for s in frame.strides):
        return _mirrored(dy, weight, frame, group, shape)
    if weight.shape[:2] == (group, 1) and group > 1 and native.transposes(dy, frame):
        return native.depthwise_transpose(dy, weight, frame, shape)
    options = frame.options(spare=True)
    return dy.at.node("ConvTranspose", [dy, weight], shape, dy.dtype, group=group, **options)


def _mirrored(dy: Value, weight: Value, frame: Window, group: int, shape: Shape) -> Value:
    """Pads larger than the kernel's reach leave outputs that see nothing of x: those are cropped off dy."""
    before = [r - b for r, b in zip(frame.reach, frame.before, strict=True)]
    after = [r - a for r, a in zip(frame.reach, frame.after, strict=True)]
    inner = {2 + i: (max(0, -before[i]), dy.shape[2 + i] - max(0, -after[i]), 1) for i in frame.axes}
    pads = [max(0, b) for b in before] + [max(0, a) for a in after]
    m, c = weight.shape[0] // group, weight.shape[1]
    turned = weight
    if m != 1 or c != 1:
        blocks = weight.reshape((group, m, c, *frame.kernel))
        order = [0, 2, 1, *range(3, 3 + len(frame.kernel))]
        turned = blocks.transpose(order).reshape((group * c, m, *frame.kernel))
    mirrored = turned.flip([2 + i for i in frame.axes])
    inner_dy = dy.slice(inner)
    back = replace(
        frame, strides=(1,) * len(before), before=tuple(pads[: len(before)]), wide=inner_dy.shape[2:], narrow=frame.wide
    )
    if m == 1 and group > 1 and native.fits(dy, back):
        return native.depthwise_conv(inner_dy, mirrored, back, shape)
    options = {"pads": pads, "dilations": [*frame.dilations], "kernel_shape": [*frame.kernel], "group": group}
    return dy.at.node("Conv", [inner_dy, mirrored], shape, dy.dtype, **options)


def weight_gradient(x: Value, dy: Value, frame: Window, group: int, shape: Shape) -> Value:
    """dL/dW of a Conv, of `shape` (M, C/g, *kernel): dW[m, c, t] = sum over samples and places of dy[m] * x[c at t]."""
    m, c = shape[0] // group, shape[1]
    if m == 1 and c == 1:
        return _per_channel(x, dy, frame, shape)
    flat = len(frame.kernel) == 2 and all(s == 1 for s in frame.strides) and not frame.plain
    if flat and c * frame.kernel[1] >= SHIFTED_FROM:
        return _shifted(x, dy, frame, group, shape)
    n, places, taps = x.shape[0], math.prod(frame.narrow), math.prod(frame.kernel)
    spread = columns(x, frame)
    if group == 1 and n > 1 and places * (m + c * taps) < m * c * taps:
        left, right = (part.transpose([1, 0, 2]) for part in (dy.reshape((n, m, places)), spread))
        sides = left.reshape((m, n * places)), right.reshape((c * taps, n * places))
        return x.at.gemm(*sides, trans_b=True).reshape(shape)
    batch = (n,) if group == 1 else (n, group)
    left = dy.reshape((*batch, m, places))
    right = spread.reshape((*batch, c * taps, places))
    return left.matmul(right.swapped()).sum([0], keep=False).reshape(shape)


def _shifted(x: Value, dy: Value, frame: Window, group: int, shape: Shape) -> Value:
    """dW of a Conv without strides in 2-D: copies of x moved along the width times copies of dy moved along the height.

    One product of (kh * M, places) by (places, kw * C) gives all kh * kw taps; kh + kw copies are needed instead of the
    kh * kw copies of im2col. Small images are joined to one long product: their sums over samples would cost more.
    """
    n, m, c, (kh, kw) = x.shape[0], shape[0] // group, shape[1], frame.kernel
    places = (frame.narrow[0] + frame.reach[0]) * frame.narrow[1]
    padded = x.pad({2 + i: (frame.before[i], frame.after[i]) for i in frame.axes})
    if group == 1 and math.prod(frame.narrow) < JOINED_BELOW:
        left, right = _copies(dy.transpose([1, 0, 2, 3]), padded.transpose([1, 0, 2, 3]), frame, 0)
        rows, columns_ = left.reshape((kh * m, n * places)), right.reshape((kw * c, n * places))
        product = x.at.gemm(rows, columns_, trans_b=True)
    else:
        blocks = n * group
        inner = padded.reshape((blocks, c, *padded.shape[2:]))
        left, right = _copies(dy.reshape((blocks, m, *dy.shape[2:])), inner, frame, 1)
        turned = right.reshape((blocks, kw * c, places)).swapped()
        found = left.reshape((blocks, kh * m, places)).matmul(turned)
        product = found.reshape((n, group, kh * m, kw * c)).sum([0])
    return product.reshape((group, kh, m, kw, c)).transpose([0, 2, 4, 1, 3]).reshape(shape)


def _copies(dy: Value, padded: Value, frame: Window, axis: int) -> tuple[Value, Value]:
    """dy moved down by each row of the kernel and x moved left by each column of it, concatenated along `axis`."""
    (kh, kw), (dh, dw), wide = frame.kernel, frame.dilations, frame.narrow[1]
    down = [dy.pad({2: (i * dh, frame.reach[0] - i * dh)}) for i in range(kh)]
    left = [padded.slice({3: (j * dw, j * dw + wide, 1)}) for j in range(kw)]
    return dy.at.concat(down, axis), dy.at.concat(left, axis)


def _per_channel(x: Value, dy: Value, frame: Window, shape: Shape) -> Value:
    """Depthwise: matrices would have one row, so every tap is a product and a sum."""
    if native.fits(x, frame):
        return native.depthwise_gradient(x, dy, frame, shape)
    axes = [0, *range(2, dy.rank)]
    sums = [(tap * dy).sum(axes, keep=False).reshape((shape[0], 1)) for tap in tapped(x, frame)]
    return x.at.concat(sums, 1).reshape(shape)
