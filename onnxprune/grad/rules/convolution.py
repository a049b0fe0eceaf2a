"""Conv: the gradient for x is a convolution with the mirrored kernel, that for W a product of dy and the taps of x.

Dumoulin & Visin, A guide to convolution arithmetic for deep learning, 2016, chapter 4.
"""

from __future__ import annotations

import math

from onnxprune.grad.builder import Shape, Value
from onnxprune.grad.call import Call
from onnxprune.grad.registry import gradient
from onnxprune.grad.rules.windows import Window, columns, tapped, window


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


def data_gradient(dy: Value, weight: Value, frame: Window, group: int, shape: Shape) -> Value:
    """dL/dX of a Conv. Without strides it is a Conv again, which runs faster than ConvTranspose."""
    if all(s == 1 for s in frame.strides):
        return _mirrored(dy, weight, frame, group, shape)
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
    options = {"pads": pads, "dilations": [*frame.dilations], "kernel_shape": [*frame.kernel], "group": group}
    return dy.at.node("Conv", [dy.slice(inner), mirrored], shape, dy.dtype, **options)


def weight_gradient(x: Value, dy: Value, frame: Window, group: int, shape: Shape) -> Value:
    """dL/dW of a Conv, of `shape` (M, C/g, *kernel): dW[m, c, t] = sum over samples and places of dy[m] * x[c at t]."""
    m, c = shape[0] // group, shape[1]
    if m == 1 and c == 1:
        return _per_channel(x, dy, frame, shape)
    n, places, taps = x.shape[0], math.prod(frame.narrow), math.prod(frame.kernel)
    spread = columns(x, frame)
    batch = (n,) if group == 1 else (n, group)
    left = dy.reshape((*batch, m, places))
    right = spread.reshape((*batch, c * taps, places))
    return left.matmul(right.swapped()).sum([0], keep=False).reshape(shape)


def _per_channel(x: Value, dy: Value, frame: Window, shape: Shape) -> Value:
    """Depthwise: matrices would have one row, so every tap is a product and a sum."""
    axes = [0, *range(2, dy.rank)]
    sums = [(tap * dy).sum(axes, keep=False).reshape((shape[0], 1)) for tap in tapped(x, frame)]
    return x.at.concat(sums, 1).reshape(shape)
