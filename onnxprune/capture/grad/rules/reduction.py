"""Reductions: the gradient is spread over the axes that were summed up."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call
from onnxprune.capture.grad.registry import gradient


def reduced(op: Call) -> list[int]:
    """The axes that a reduction runs over: an attribute at first, later an input; none at all means every axis."""
    axes = op.integers("axes", 1)
    if not axes:
        return [] if op.attribute("noop_with_empty_axes", 0) else list(range(op.x.rank))
    return [op.axis(axis) for axis in axes]


def kept(op: Call, value: Value, axes: Sequence[int]) -> Value:
    """A value of the output's shape with the reduced axes back, of size 1."""
    return value.reshape([1 if axis in axes else size for axis, size in enumerate(op.x.shape)])


@gradient("ReduceSum")
def reduce_sum(op: Call) -> None:
    op.give(0, kept(op, op.dy, reduced(op)).expand(op.x.shape))


@gradient("ReduceMean")
def reduce_mean(op: Call) -> None:
    axes = reduced(op)
    count = math.prod(op.x.shape[axis] for axis in axes)
    op.give(0, (kept(op, op.dy, axes) * (1 / count)).expand(op.x.shape))


@gradient("ReduceMax", "ReduceMin", "GlobalMaxPool")
def reduce_extremum(op: Call) -> None:
    """dy goes to the places that equal the result; where several do, they share it."""
    axes = list(range(2, op.x.rank)) if op.node.op_type == "GlobalMaxPool" else reduced(op)
    y, dy = kept(op, op.y, axes), kept(op, op.dy, axes)
    missed = op.x > y if op.node.op_type == "ReduceMin" else op.x < y
    hits = (~missed).cast(dy.dtype)
    op.give(0, hits * (dy / hits.sum(axes)))


@gradient("ReduceL1")
def reduce_l1(op: Call) -> None:
    sign = (op.x > 0).cast(op.dy.dtype) - (op.x < 0).cast(op.dy.dtype)
    op.give(0, sign * kept(op, op.dy, reduced(op)))


@gradient("ReduceL2")
def reduce_l2(op: Call) -> None:
    """sqrt(sum(x * x)): dx = dy * x / y, and 0 where all of x is 0."""
    axes = reduced(op)
    norm = kept(op, op.y, axes)
    op.give(0, op.x * (kept(op, op.dy, axes) / (norm + norm.is_zero())))


@gradient("ReduceSumSquare")
def reduce_sum_square(op: Call) -> None:
    op.give(0, op.x * (kept(op, op.dy, reduced(op)) * 2))


@gradient("ReduceLogSumExp")
def reduce_log_sum_exp(op: Call) -> None:
    """log(sum(exp(x))): dx = dy * exp(x - y)."""
    axes = reduced(op)
    op.give(0, (op.x - kept(op, op.y, axes)).apply("Exp") * kept(op, op.dy, axes))


@gradient("CumSum")
def cumulative_sum(op: Call) -> None:
    """The adjoint adds up from the other end."""
    back = {"exclusive": op.attribute("exclusive", 0), "reverse": 1 - op.attribute("reverse", 0)}
    op.give(0, op.at.node("CumSum", [op.dy, op.input(1)], op.x.shape, op.dy.dtype, **back))
