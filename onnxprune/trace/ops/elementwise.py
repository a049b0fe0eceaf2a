"""Element-wise operators, with broadcasting: aligned indices are the same atom, constants are cut along."""

from __future__ import annotations

import numpy as np

from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import NotUnderstood, Op
from onnxprune.trace.ops.registry import MICROSOFT, rule

UNARY = [
    "Abs",
    "Acos",
    "Acosh",
    "Asin",
    "Asinh",
    "Atan",
    "Atanh",
    "BitwiseNot",
    "Cast",
    "Ceil",
    "Celu",
    "Clip",
    "Cos",
    "Cosh",
    "Elu",
    "Erf",
    "Exp",
    "Floor",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "IsInf",
    "IsNaN",
    "LeakyRelu",
    "Log",
    "Mish",
    "Neg",
    "Not",
    "Reciprocal",
    "Relu",
    "Round",
    "Selu",
    "Shrink",
    "Sigmoid",
    "Sign",
    "Sin",
    "Sinh",
    "Softplus",
    "Softsign",
    "Sqrt",
    "Swish",
    "Tan",
    "Tanh",
    "ThresholdedRelu",
]
BINARY = [
    "Add",
    "And",
    "BitShift",
    "BitwiseAnd",
    "BitwiseOr",
    "BitwiseXor",
    "Div",
    "Equal",
    "Greater",
    "GreaterOrEqual",
    "Less",
    "LessOrEqual",
    "Max",
    "Mean",
    "Min",
    "Mod",
    "Mul",
    "Or",
    "PRelu",
    "Pow",
    "Sub",
    "Sum",
    "Where",
    "Xor",
]


def broadcast(op: Op, slots: list[int], rank: int) -> list[Labels]:
    """Tie the axes of several inputs as numpy broadcasting aligns them; labels of the broadcast result."""
    result: list[Labels] = []
    shapes = {slot: op.shape(slot) for slot in slots}
    for axis in range(-rank, 0):
        wide = [slot for slot in slots if len(shapes[slot]) >= -axis and shapes[slot][axis] != 1]
        found: Labels = None
        for position, slot in enumerate(wide):
            label = op.label(slot, axis)
            found = label if position == 0 else op.tie(found, label)
        result.append(found)
    return result


@rule(*UNARY, *BINARY)
def elementwise(op: Op) -> None:
    slots = [slot for slot in range(len(op.node.inputs)) if op.has(slot)]
    rank = max(len(op.shape(slot)) for slot in slots)
    op.set(0, broadcast(op, slots, rank))


@rule("QuickGelu", "FastGelu", "Gelu", "BiasGelu", "BiasAdd", domain=MICROSOFT)
def fused_activation(op: Op) -> None:
    elementwise(op)


@rule("CastLike")
def cast_like(op: Op) -> None:
    """Only the type of the second input counts."""
    op.set(0, op.axes(0))


@rule("Dropout")
def dropout(op: Op) -> None:
    axes = op.axes(0)
    op.set(0, axes)
    op.set(1, axes)


@rule("QuantizeLinear", "DequantizeLinear")
@rule("QuantizeLinear", "DequantizeLinear", domain=MICROSOFT)
def quantize(op: Op) -> None:
    """Per-axis scales and zero points follow the axis; of block-wise ones a block leaves whole.

    Scales of rank 0 or 1 with one entry hold for the whole tensor.
    """
    axes = op.axes(0)
    axis = op.attribute("axis", 1)
    if op.attribute("block_size", 0):
        _in_blocks(op, axes, axis % max(len(axes), 1), op.attribute("block_size"))
        op.set(0, axes)
        return
    for slot in (1, 2):
        if op.has(slot) and len(op.shape(slot)) == 1 and op.shape(slot)[0] != 1:
            rank = len(axes)
            if not -rank <= axis < rank:
                raise NotUnderstood(f"its axis {axis} is out of range")
            op.tie(axes[axis], op.label(slot, 0))
    op.set(0, axes)


def _in_blocks(op: Op, axes: list[Labels], axis: int, block: int) -> None:
    """Scales have the shape of the tensor, but for `axis`: one a block. Of a single one, whatever stays is a block."""
    for slot in (1, 2):
        if not op.has(slot):
            continue
        shape = op.shape(slot)
        if len(shape) != len(axes) or shape[axis] != -(-op.size(0, axis) // block):
            raise NotUnderstood(f"its input {slot} does not have one entry a block")
        for a, size in enumerate(shape):
            if size == 1:
                continue
            found = op.label(slot, a)
            if a == axis and found is not None:
                found = np.repeat(found, block)[: op.size(0, axis)]
            axes[a] = op.tie(axes[a], found)
