"""Operators that sum over an axis: convolutions and matrix products.

Output indices belong to the weight; summed indices tie input and weight, and end there.
"""

from __future__ import annotations

import math

from onnxprune.model.einsum import written_out
from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import Choice, NotUnderstood, Op
from onnxprune.trace.ops.registry import MICROSOFT, rule

WIDE, SEVERAL = 32, 4
"""Channels of a group of a convolution from which on, and groups up to which, every group loses some of its channels.
Kernels take 16 channels of a group at once: 32 is the narrowest that can lose a step."""
SPATIAL = "it is a spatial axis of a convolution"
SLIDES = "a convolution slides over it, and gives every index a mixture of its neighbours (a gate over channels)"
INSIDE = "it counts the inputs of each group of a convolution"


@rule("Conv")
def convolution(op: Op) -> None:
    """W has shape (O, I/g, k...). Depthwise (I/g = 1): an output lives with its input, and g shrinks.

    Other groups: both sides lose equally many indices per group, g stays; narrow ones leave whole, and g shrinks.
    """
    convolve(op)


def convolve(op: Op, w: int = 1, bias: int = 2, zeros: tuple[int, int] | None = None) -> None:
    """The rule, for a weight at slot `w`. `zeros`: of integers, the slots of the zero points of X and W."""
    x = 0
    group, outputs, inputs = op.attribute("group", 1), op.size(w, 0), op.size(w, 1)
    op.pin_axes(x, SLIDES if inputs == group == 1 else SPATIAL, but=(0, 1))
    op.pin_axes(w, SPATIAL, but=(0, 1))
    out = op.label(w, 0)
    if group == 1:
        op.contract(x, 1, w, 1, zeros)
    else:
        _grouped(op, w, out, group, zeros)
    op.member(w, 0)
    if op.has(bias):
        op.tie(out, op.label(bias, 0))
    if outputs == 0 or inputs == 0:
        raise NotUnderstood("it has an empty weight")
    op.set(0, [op.label(x, 0), out, *[None] * (len(op.shape(x)) - 2)])


def _grouped(op: Op, w: int, out: Labels, group: int, zeros: tuple[int, int] | None) -> None:
    x, per_group = 0, op.size(w, 0) // group
    incoming = op.label(x, 1)
    if op.size(x, 1) != group * op.size(w, 1) or op.size(w, 0) % group:
        raise NotUnderstood("its group does not divide its channels")
    if op.size(w, 1) == 1:
        if per_group > 1 and out is not None:
            out_blocks = out.reshape(group, per_group)
            for k in range(1, per_group):
                op.tie(out_blocks[:, 0], out_blocks[:, k])
        op.tie(incoming, None if out is None else out.reshape(group, per_group)[:, 0])
        op.rewrite(lambda edit: edit.set_attribute("group", edit.count(incoming, group)))
        return
    if op.origin(w) is None:
        raise NotUnderstood("it is grouped and its weight is not a plain constant")
    if _whole_groups(op, incoming, out, group, min(op.size(w, 1), per_group)):
        if op.constant(w) is None:
            op.pin(op.label(w, 1), INSIDE)
        op.rewrite(
            lambda edit: edit.set_attribute("group", edit.count(incoming, group * op.size(w, 1)) // op.size(w, 1))
        )
    else:
        op.equal_per_block(incoming, group)
        op.equal_per_block(out, group)
        op.block_axis(w, 1, incoming, group, INSIDE)
    op.close(x, 1) if zeros is None else op.close(x, 1, "integers", zeros[0])


def _whole_groups(op: Op, incoming: Labels, out: Labels, group: int, width: int) -> bool:
    """Groups so narrow that kernels gain nothing where each of them loses channels leave whole, inputs and outputs
    together, unless that ties all of them (as a shuffle does).
    """
    if group < SEVERAL or width >= WIDE or incoming is None or out is None:
        return False
    taken = op.state.choices.get(op.node.index, 0)
    if taken == 0:
        for labels in (incoming, out):
            rows = labels.reshape(group, -1)
            for column in rows.T[1:]:
                op.tie(rows[:, 0], column)
        op.tie(incoming.reshape(group, -1)[:, 0], out.reshape(group, -1)[:, 0])
    op.state.taken.append(Choice(op.node.index, 2, taken, incoming))
    return taken == 0


@rule("FusedConv", domain=MICROSOFT)
def fused_convolution(op: Op) -> None:
    convolution(op)
    if op.has(3):
        axes = op.axes(3)
        op.tie(axes[1], op.label(1, 0))
        if op.shape(3)[0] != 1 or op.shape(0)[0] == 1:
            op.tie(op.label(0, 0), axes[0])


@rule("ConvTranspose")
def transposed_convolution(op: Op) -> None:
    """W has shape (I, O/g, k...)."""
    group, per_group = op.attribute("group", 1), op.size(1, 1)
    op.pin_axes(0, SPATIAL, but=(0, 1))
    op.pin_axes(1, SPATIAL, but=(0, 1))
    out: Labels
    if group == 1:
        op.contract(0, 1, 1, 0)
        out = op.label(1, 1)
        op.member(1, 1)
    elif per_group == 1 and op.size(1, 0) == group:
        out = op.tie(op.label(0, 1), op.label(1, 0))
        op.member(1, 0)
        op.rewrite(lambda edit: edit.set_attribute("group", edit.count(out, group)))
    else:
        out = _grouped_transposed(op, group)
    if op.has(2):
        op.tie(out, op.label(2, 0))
    op.set(0, [op.label(0, 0), out, *[None] * (len(op.shape(0)) - 2)])


def _grouped_transposed(op: Op, group: int) -> Labels:
    """Inputs leave evenly from every group; the output positions are common to all groups (one axis of W)."""
    op.tie(op.label(0, 1), op.label(1, 0))
    op.equal_per_block(op.label(0, 1), group)
    op.close(0, 1)
    positions = op.label(1, 1)
    if positions is None:
        return None
    op.member(1, 1)
    tiled = op.fresh(group * positions.size)
    if tiled is not None:
        for block in tiled.reshape(group, -1):
            op.tie(positions, block)
    return tiled


@rule("Gemm")
@rule("FusedGemm", domain=MICROSOFT)
def gemm(op: Op) -> None:
    """Y = alpha A' B' + beta C; only C broadcasts."""
    a_row, a_sum = (1, 0) if op.attribute("transA", 0) else (0, 1)
    b_sum, b_column = (1, 0) if op.attribute("transB", 0) else (0, 1)
    op.contract(0, a_sum, 1, b_sum)
    row, column = op.label(0, a_row), op.label(1, b_column)
    op.member(1, b_column)
    op.member(0, a_row)
    if op.has(2):
        shape = op.shape(2)
        if len(shape) >= 1 and shape[-1] != 1:
            op.tie(column, op.label(2, -1))
        if len(shape) >= 2 and shape[-2] != 1:
            op.tie(row, op.label(2, -2))
    op.set(0, [row, column])


@rule("MatMul")
@rule("FusedMatMul", domain=MICROSOFT)
def matmul(op: Op) -> None:
    """Batched product: the last axis of A meets the last but one of B (either may be transposed by attribute)."""
    multiply(op)


def multiply(op: Op, b: int = 1, zeros: tuple[int, int] | None = None) -> Labels:
    """The rule, for a second factor at slot `b`; the labels of its columns. `zeros`: of integers, the slots of the zero
    points of A and B.
    """
    a_rank, b_rank = len(op.shape(0)), len(op.shape(b))
    if a_rank == 0 or b_rank == 0:
        raise NotUnderstood("it multiplies a scalar")
    trans_a = bool(op.attribute("transA", 0)) and a_rank > 1
    trans_b = bool(op.attribute("transB", 0)) and b_rank > 1
    if op.attribute("transBatchA", 0) or op.attribute("transBatchB", 0):
        raise NotUnderstood("it transposes batch axes")
    a_sum, a_row = (-2, -1) if trans_a else (-1, -2)
    b_sum, b_column = (-1, -2) if trans_b or b_rank == 1 else (-2, -1)
    op.contract(0, a_sum, b, b_sum, zeros)
    batch = _batch(op, {0: a_rank, b: b_rank})
    row = [op.label(0, a_row)] if a_rank > 1 else []
    column = [op.label(b, b_column)] if b_rank > 1 else []
    if b_rank > 1:
        op.member(b, b_column)
    if a_rank > 1:
        op.member(0, a_row)
    op.set(0, [*batch, *row, *column])
    return column[0] if column else None


def _batch(op: Op, ranks: dict[int, int]) -> list[Labels]:
    result: list[Labels] = []
    for axis in range(-max(ranks.values()), -2):
        wide = [s for s, rank in ranks.items() if rank >= -axis and op.shape(s)[axis] != 1]
        labels = [op.label(slot, axis) for slot in wide]
        result.append(labels[0] if len(labels) == 1 else op.tie(labels[0], labels[1]) if labels else None)
    return result


@rule("Einsum")
def einsum(op: Op) -> None:
    """Letters are axes: equal ones are tied, also in one input (a diagonal); those missing on the right are summed."""
    ranks = [len(op.shape(slot)) for slot in range(len(op.node.inputs))]
    try:
        terms, right = written_out(str(op.attribute("equation", "")), ranks)
    except ValueError as error:
        raise NotUnderstood(f"its equation {error}") from None
    seen: dict[str, Labels] = {}
    where: dict[str, list[tuple[int, int]]] = {}
    for slot, term in enumerate(terms):
        for axis, letter in enumerate(term):
            if op.shape(slot)[axis] == 1:
                continue
            label = op.label(slot, axis)
            seen[letter] = op.tie(seen[letter], label) if letter in seen else label
            where.setdefault(letter, []).append((slot, axis))
    for letter, places in where.items():
        if letter not in right:
            slot, axis = next(((s, a) for s, a in places if op.constant(s) is None), places[0])
            op.close(slot, axis)
        else:
            for slot, axis in places:
                op.member(slot, axis, _channels_beside(op, slot, axis, terms, right))
    op.set(0, [seen.get(letter) for letter in right])


def _channels_beside(op: Op, slot: int, axis: int, terms: list[str], right: str) -> int:
    """The product of the other axes of an input that only it brings into the output: kernels see them as one axis."""
    others = {letter for k, term in enumerate(terms) if k != slot for letter in term}
    own = [a for a, letter in enumerate(terms[slot]) if letter in right and letter not in others and a != axis]
    return math.prod(op.shape(slot)[a] or 1 for a in own)
