"""Gemm and MatMul: both gradients are products again."""

from __future__ import annotations

import math

from onnxprune.capture.grad.builder import Value
from onnxprune.capture.grad.call import Call, NoRule
from onnxprune.capture.grad.registry import gradient
from onnxprune.model.einsum import written_out


@gradient("Gemm")
def gemm(op: Call) -> None:
    """Y = alpha * A' B' + beta * C, where ' is a transposition or nothing."""
    a, b, dy = op.x, op.input(1), op.dy
    trans_a, trans_b = bool(op.attribute("transA", 0)), bool(op.attribute("transB", 0))
    alpha, beta = op.attribute("alpha", 1.0), op.attribute("beta", 1.0)
    if op.wants(0):
        if trans_a:
            op.give(0, op.at.gemm(b, dy, trans_a=trans_b, trans_b=True, alpha=alpha))
        else:
            op.give(0, op.at.gemm(dy, b, trans_b=not trans_b, alpha=alpha))
    if op.wants(1):
        if trans_b:
            op.give(1, op.at.gemm(dy, a, trans_a=True, trans_b=trans_a, alpha=alpha))
        else:
            op.give(1, op.at.gemm(a, dy, trans_a=not trans_a, alpha=alpha))
    if op.wants(2):
        op.give(2, dy.summed_to(op.shape(2)) * beta)


@gradient("MatMul")
def matmul(op: Call) -> None:
    """numpy's matmul: a vector is a row on the left and a column on the right."""
    a, b = op.x, op.input(1)
    left = a.reshape((1, *a.shape)) if a.rank == 1 else a
    right = b.reshape((*b.shape, 1)) if b.rank == 1 else b
    if right.rank == 2:
        _shared_matrix(op, left, right)
        return
    dy = op.dy.reshape((*right.shape[:-2], 1, right.shape[-1])) if a.rank == 1 else op.dy
    if op.wants(0):
        op.give(0, dy.matmul(right.swapped()).summed_to(left.shape).reshape(a.shape))
    if op.wants(1):
        op.give(1, left.swapped().matmul(dy))


def _shared_matrix(op: Call, left: Value, right: Value) -> None:
    """One matrix for the whole batch: one large product instead of many small ones."""
    rows = math.prod(left.shape[:-1])
    tall, dy = left.reshape((rows, left.shape[-1])), op.dy.reshape((rows, right.shape[-1]))
    if op.wants(0):
        op.give(0, op.at.gemm(dy, right, trans_b=True).reshape(op.shape(0)))
    if op.wants(1):
        op.give(1, op.at.gemm(tall, dy, trans_a=True).reshape(op.shape(1)))


@gradient("Einsum")
def einsum(op: Call) -> None:
    """The gradient for a factor is an Einsum again: dy and the other factors, read out by the letters of this one.

    Every letter of a factor must occur elsewhere, for a sum over it alone would have to be spread again. Nothing may be
    broadcast, for the same reason the other way round.
    """
    shapes = [op.shape(slot) for slot in range(len(op.node.input))]
    try:
        names, result = written_out(op.attribute("equation"), [len(shape) for shape in shapes])
    except ValueError as error:
        raise NoRule(f"equation {op.attribute('equation')} {error}") from None
    sizes: dict[str, set[int]] = {}
    for name, shape in zip(names, shapes, strict=True):
        for letter, size in zip(name, shape, strict=True):
            sizes.setdefault(letter, set()).add(size)
    if any(len(set(name)) < len(name) for name in names) or any(len(found) > 1 for found in sizes.values()):
        raise NoRule(f"equation {op.attribute('equation')} has no gradient rule")
    for slot in sorted(op.wanted):
        others = [result, *(t for i, t in enumerate(names) if i != slot)]
        if not set(names[slot]) <= set("".join(others)):
            raise NoRule(f"equation {op.attribute('equation')} sums over an index of one factor only")
        values = [op.dy, *(op.input(i) for i in range(len(names)) if i != slot)]
        equation = f"{','.join(others)}->{names[slot]}"
        op.give(slot, op.at.node("Einsum", values, op.shape(slot), op.dy.dtype, equation=equation))
