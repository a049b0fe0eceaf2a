"""Normalisations. BatchNormalization is in inference form: its statistics are inputs like others."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import gradient


@gradient("BatchNormalization")
def batch_normalization(op: Call) -> None:
    """y = (x - mean) * inv * scale + bias with inv = 1 / sqrt(var + epsilon), per channel.

    sum(dy * (x - mean)) is computed as sum(dy * x) - mean * sum(dy), which needs one pass less over the activations.
    """
    if op.attribute("training_mode", 0) or len([name for name in op.node.output if name]) > 1:
        raise NoRule("it runs in training mode")
    if not op.attribute("spatial", 1):
        raise NoRule("spatial 0 has no gradient rule")
    scale, mean, variance = op.input(1), op.input(3), op.input(4)
    axes = [0, *range(2, op.x.rank)]
    inverse = 1 / (variance + op.attribute("epsilon", 1e-5)).apply("Sqrt")
    if op.wants(0):
        op.give(0, op.dy * (scale * inverse).reshape((op.x.shape[1], *[1] * (op.x.rank - 2))))
    if not op.wants(1, 2, 3, 4):
        return
    total = op.dy.sum(axes, keep=False)
    if op.wants(2):
        op.give(2, total)
    if op.wants(3):
        op.give(3, -(total * scale * inverse))
    if op.wants(1, 4):
        slope = ((op.dy * op.x).sum(axes, keep=False) - mean * total) * inverse
        if op.wants(1):
            op.give(1, slope)
        if op.wants(4):
            op.give(4, slope * scale * inverse * inverse * -0.5)


def standardized(x: Value, axes: Sequence[int], epsilon: float) -> tuple[Value, Value]:
    """((x - mean) / deviation, 1 / deviation) over `axes`."""
    centred = x - x.mean(axes)
    inverse = 1 / ((centred * centred).mean(axes) + epsilon).apply("Sqrt")
    return centred * inverse, inverse


def through(g: Value, normal: Value, inverse: Value, axes: Sequence[int]) -> Value:
    """dL/dx from g = dL/dnormal: what a shift or a stretch of x would do is taken out.

    Ioffe & Szegedy, Batch Normalization, 2015, section 3.
    """
    return (g - g.mean(axes) - normal * (g * normal).mean(axes)) * inverse


@gradient("LayerNormalization")
def layer_normalization(op: Call) -> None:
    """Over the axes from `axis` on; scale and bias broadcast to them."""
    axes = list(range(op.axis(op.attribute("axis", -1)), op.x.rank))
    normal, inverse = standardized(op.x, axes, op.attribute("epsilon", 1e-5))
    if op.wants(0):
        op.give(0, through(op.dy * op.input(1), normal, inverse, axes))
    if op.wants(1):
        op.give(1, op.dy * normal)
    if op.wants(2):
        op.give(2, op.dy)


@gradient("RMSNormalization")
def rms_normalization(op: Call) -> None:
    """x / sqrt(mean(x * x) + epsilon) * scale. Zhang & Sennrich, Root Mean Square Layer Normalization, 2019."""
    axes = list(range(op.axis(op.attribute("axis", -1)), op.x.rank))
    inverse = 1 / ((op.x * op.x).mean(axes) + op.attribute("epsilon", 1e-5)).apply("Sqrt")
    normal = op.x * inverse
    if op.wants(0):
        g = op.dy * op.input(1)
        op.give(0, (g - normal * (g * normal).mean(axes)) * inverse)
    if op.wants(1):
        op.give(1, op.dy * normal)


@gradient("InstanceNormalization", "GroupNormalization")
def group_normalization(op: Call) -> None:
    """Over the channels of a group and their places; an instance is a group of one channel.

    The scale of GroupNormalization is per group up to opset 20, per channel from 21 on.
    """
    n, c, *places = op.x.shape
    groups = int(op.attribute("num_groups", c))
    blocks = (n, groups, c // groups, *places)
    axes = list(range(2, len(blocks)))
    normal, inverse = standardized(op.x.reshape(blocks), axes, op.attribute("epsilon", 1e-5))
    shared = op.node.op_type == "GroupNormalization" and op.opset < 21
    aligned = (1, groups, 1 if shared else c // groups, *[1] * len(places))
    dy = op.dy.reshape(blocks)
    if op.wants(0):
        g = dy * op.input(1).reshape(aligned)
        op.give(0, through(g, normal, inverse, axes).reshape(op.x.shape))
    if op.wants(1):
        op.give(1, (dy * normal).summed_to(aligned).reshape(op.shape(1)))
    if op.wants(2):
        op.give(2, dy.summed_to(aligned).reshape(op.shape(2)))


@gradient("Softmax")
def softmax(op: Call) -> None:
    """dx = y * (dy - sum(dy * y))."""
    op.give(0, op.y * (op.dy - (op.dy * op.y).sum(_softmax_axes(op))))


@gradient("LogSoftmax")
def log_softmax(op: Call) -> None:
    """dx = dy - exp(y) * sum(dy)."""
    op.give(0, op.dy - op.y.apply("Exp") * op.dy.sum(_softmax_axes(op)))


def _softmax_axes(op: Call) -> list[int]:
    """One axis from opset 13 on; before, all axes from that one to the last."""
    axis = op.axis(op.attribute("axis", -1 if op.opset >= 13 else 1))
    return [axis] if op.opset >= 13 else list(range(axis, op.x.rank))


@gradient("LpNormalization")
def lp_normalization(op: Call) -> None:
    """y = x / |x| along an axis, for the Euclidean norm: dx = (dy - y * sum(dy * y)) / |x|."""
    if op.attribute("p", 2) != 2:
        raise NoRule("p 1 has no gradient rule")
    axes = [op.axis(op.attribute("axis", -1))]
    norm = (op.x * op.x).sum(axes).apply("Sqrt")
    op.give(0, (op.dy - op.y * (op.dy * op.y).sum(axes)) / (norm + norm.is_zero()))
