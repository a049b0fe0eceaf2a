"""Normalisations. BatchNormalization is in inference form: its statistics are inputs like others."""

from __future__ import annotations

from onnxprune.grad.call import Call, NoRule
from onnxprune.grad.registry import gradient


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
