"""Reductions: the gradient is spread over the axes that were summed up."""

from __future__ import annotations

import math

from onnxprune.grad.builder import Value
from onnxprune.grad.call import Call
from onnxprune.grad.registry import gradient


def reduced(op: Call) -> list[int]:
    """The axes that a reduction runs over: an attribute at first, later an input; none at all means every axis."""
    axes = op.integers("axes", 1)
    if not axes:
        return [] if op.attribute("noop_with_empty_axes", 0) else list(range(op.x.rank))
    return [op.axis(axis) for axis in axes]


def kept(op: Call, value: Value) -> Value:
    """A value of the output's shape with the reduced axes back, of size 1."""
    axes = reduced(op)
    return value.reshape([1 if axis in axes else size for axis, size in enumerate(op.x.shape)])


@gradient("ReduceSum")
def reduce_sum(op: Call) -> None:
    op.give(0, kept(op, op.dy).expand(op.x.shape))


@gradient("ReduceMean")
def reduce_mean(op: Call) -> None:
    count = math.prod(op.x.shape[axis] for axis in reduced(op))
    op.give(0, (kept(op, op.dy) * (1 / count)).expand(op.x.shape))
