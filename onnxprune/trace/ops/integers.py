"""Operators on integers: products with zero points, quantisers whose range is that of the whole tensor, and those of
com.microsoft between scales (QLinearAdd, ...).

What ends at a product is held at its zero point in the reference; what DynamicQuantizeLinear reads is held at 0, which
its range contains, so that the range is that of what stays.
"""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import NotUnderstood, Op
from onnxprune.trace.ops.contraction import convolve, multiply
from onnxprune.trace.ops.elementwise import broadcast
from onnxprune.trace.ops.movement import join
from onnxprune.trace.ops.reduction import pooling
from onnxprune.trace.ops.registry import MICROSOFT, rule


@rule("DynamicQuantizeLinear")
def dynamic_quantizer(op: Op) -> None:
    """y = round(x / scale) + zero: per element, but scale and zero come from the least and the largest of all x."""
    axes = op.axes(0)
    _ranged(op, range(len(axes)))
    op.set(0, axes)


@rule("ConvInteger")
def integer_convolution(op: Op) -> None:
    """As Conv, of X - zero and W - zero; that of W may be one number for each output."""
    _alone(op, 2)
    convolve(op, 1, len(op.node.inputs), (2, 3))
    _along(op, 1, 0, (3,))


@rule("QLinearConv")
def quantized_convolution(op: Op) -> None:
    """X, its scale and zero point, W with its own (maybe for each output), those of Y, and a bias of int32."""
    _alone(op, 2)
    convolve(op, 3, 8, (2, 5))
    _along(op, 3, 0, (4, 5, 6, 7))


@rule("MatMulInteger")
def integer_product(op: Op) -> None:
    """As MatMul, of A - zero and B - zero; that of B may be one number for each column."""
    _alone(op, 2)
    multiply(op, 1, (2, 3))
    _along(op, 1, -1, (3,))


@rule("QLinearMatMul")
def quantized_product(op: Op) -> None:
    """A, B, Y, each with its scale and zero point behind it; those of B may be for each column."""
    _alone(op, 1, 2)
    multiply(op, 3, (2, 5))
    _along(op, 3, -1, (4, 5, 6, 7))


@rule("MatMulIntegerToFloat", domain=MICROSOFT)
def scaled_product(op: Op) -> None:
    """A, B, their scales, their zero points, and a bias; those of B may be for each column."""
    _alone(op, 2, 4)
    multiply(op, 1, (4, 5))
    _along(op, 1, -1, (3, 5, 6))


@rule("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_product(op: Op) -> None:
    """A is rounded as by DynamicQuantizeLinear, by the range of all of it. B, its scale and zero point, a bias."""
    multiply(op)
    _along(op, 1, -1, (2, 3, 4))
    _ranged(op, range(len(op.shape(0)) - 1))


@rule("QGemm", domain=MICROSOFT)
def quantized_gemm(op: Op) -> None:
    """A' B' + C: A, B with scale and zero point each, C of int32, scale and zero point of Y."""
    _alone(op, 1, 2)
    a_row, a_sum = (1, 0) if op.attribute("transA", 0) else (0, 1)
    b_sum, b_column = (1, 0) if op.attribute("transB", 0) else (0, 1)
    op.contract(0, a_sum, 3, b_sum, (2, 5))
    op.member(3, b_column)
    _along(op, 3, b_column, (4, 5, 6, 7, 8))
    op.set(0, [op.label(0, a_row), op.label(3, b_column)])


@rule("QLinearAdd", "QLinearMul", domain=MICROSOFT)
def between_scales(op: Op) -> None:
    """A and B as numpy broadcasts them, with one scale and zero point each."""
    _alone(op, 1, 2, 4, 5, 6, 7)
    op.set(0, broadcast(op, [0, 3], max(len(op.shape(0)), len(op.shape(3)))))


@rule("QLinearLeakyRelu", "QLinearSigmoid", domain=MICROSOFT)
def activation(op: Op) -> None:
    _alone(op, 1, 2, 3, 4)
    op.set(0, op.axes(0))


@rule("QLinearSoftmax", domain=MICROSOFT)
def softmax(op: Op) -> None:
    """Over one axis, or from that on (opset below 13); the others pass."""
    axes = op.axes(0)
    axis = op.attribute("axis", -1) % max(len(axes), 1)
    for a in range(axis, len(axes) if op.attribute("opset", 13) < 13 else axis + 1):
        op.pin(axes[a], "QLinearSoftmax normalises over it")
        axes[a] = None
    op.set(0, axes)


@rule("QLinearAveragePool", "QLinearGlobalAveragePool", domain=MICROSOFT)
def average(op: Op) -> None:
    if op.attribute("channels_last", 0):
        raise NotUnderstood("its channels are the last axis")
    pooling(op)


@rule("QLinearConcat", domain=MICROSOFT)
def joined(op: Op) -> None:
    """Scale and zero point of Y, then parts with a scale and a zero point each."""
    join(op, range(2, len(op.node.inputs), 3))


# ---- inner -----------------------------------------------------------------------------------------------------
def _ranged(op: Op, axes: Sequence[int]) -> None:
    """Scale and zero point follow from all that input 0 holds along these axes."""
    for axis in axes:
        op.close(0, axis, "range")


def _alone(op: Op, *slots: int) -> None:
    """These inputs are one number each, for all indices."""
    for slot in slots:
        if op.has(slot) and any(size != 1 for size in op.shape(slot)):
            raise NotUnderstood(f"its input {slot} has more than one scale or zero point")


def _along(op: Op, weight: int, axis: int, slots: Sequence[int]) -> None:
    """These inputs are one number, or one for each index of that axis of the weight, on their last axis of many."""
    columns: Labels = op.label(weight, axis)
    for slot in slots:
        if not op.has(slot):
            continue
        shape = op.shape(slot)
        wide = [a for a, size in enumerate(shape) if size != 1]
        if not wide:
            continue
        if len(wide) > 1 or shape[wide[0]] != op.size(weight, axis):
            raise NotUnderstood(f"the shape of its input {slot} is not understood")
        op.tie(columns, op.label(slot, wide[0]))
