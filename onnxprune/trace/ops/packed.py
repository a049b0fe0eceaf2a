"""Products whose weight is packed in blocks along the inputs: a block leaves whole, with its scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.packed_weights import SCALE, WEIGHT, ZERO, join_bits, split_bits
from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import Edit, NotUnderstood, Op
from onnxprune.trace.ops.registry import MICROSOFT, rule

ORDER, BIAS = 4, 5
ONE_BLOCK = "it is one block of MatMulNBits, which has one scale"


@rule("MatMulNBits", domain=MICROSOFT)
def packed_product(op: Op) -> None:
    """Y = A B': B (N, blocks, bytes), scales (N * blocks,) or (N, blocks), zero points likewise or packed, bias (N,).

    Outputs are rows of B; inputs leave in blocks.
    """
    inputs, outputs, block = int(op.attribute("K", 0)), int(op.attribute("N", 0)), int(op.attribute("block_size", 0))
    if op.has(ORDER):
        raise NotUnderstood("its blocks are in another order than its inputs (g_idx)")
    if any(op.has(slot) and op.constant(slot) is None for slot in (WEIGHT, SCALE, ZERO)):
        raise NotUnderstood("its weight, its scales or its zero points are no constants")
    blocks = -(-inputs // block) if block else 0
    if op.shape(WEIGHT)[:2] != (outputs, blocks) or op.size(0, -1) != inputs:
        raise NotUnderstood("its weight has another shape than its K, N and block_size say")
    op.pin_axes(WEIGHT, "it is packed", but=(0, 1))
    incoming, rows, wholes = op.label(0, -1), op.label(WEIGHT, 0), op.label(WEIGHT, 1)
    if wholes is None:
        op.pin(incoming, ONE_BLOCK)
    else:
        op.tie(incoming, np.repeat(wholes, block)[:inputs], "MatMulNBits sums over it with an axis that cannot shrink")
        op.close(0, -1)
    op.member(WEIGHT, 0)
    for slot in (SCALE, ZERO):
        if op.has(slot):
            _parameter(op, slot, rows, wholes)
    if op.has(BIAS):
        op.tie(rows, op.label(BIAS, 0))
    op.rewrite(lambda edit: edit.set_attribute("K", edit.count(incoming, inputs)))
    op.rewrite(lambda edit: edit.set_attribute("N", edit.count(rows, outputs)))
    op.set(0, [*op.axes(0)[:-1], rows])


def _parameter(op: Op, slot: int, rows: Labels, wholes: Labels) -> None:
    """A scale or a zero point of every block: cut along where it has an axis for each, else written anew."""
    outputs, blocks, _ = op.shape(WEIGHT)
    constant = op.constant(slot)
    assert constant is not None and outputs is not None and blocks is not None
    packed = slot == ZERO and constant.dtype == _dtype(op, WEIGHT)
    if not packed and constant.shape == (outputs, blocks):
        op.tie(rows, op.label(slot, 0))
        op.tie(wholes, op.label(slot, 1))
        return
    if constant.size % outputs or (not packed and constant.size != outputs * blocks):
        raise NotUnderstood(f"its input {slot} has another shape than its blocks")
    bits = int(op.attribute("bits", 4)) if packed else 0

    def rewrite(edit: Edit) -> None:
        stay = np.ones(outputs, bool) if rows is None else edit.mask(rows)
        left = np.ones(blocks, bool) if wholes is None else edit.mask(wholes)
        if not (stay.all() and left.all()):
            edit.set_input(slot, _cut(constant.array(), stay, left, bits))

    op.rewrite(rewrite)


def _dtype(op: Op, slot: int) -> int | None:
    constant = op.constant(slot)
    return None if constant is None else constant.dtype


def _cut(array: NDArray[Any], rows: NDArray[np.bool_], blocks: NDArray[np.bool_], bits: int) -> NDArray[Any]:
    """The rows and blocks that stay, in an array of the same rank; `bits` of packed numbers, else 0."""
    table = array.reshape(len(rows), -1)[rows]
    table = join_bits(split_bits(table, bits, len(blocks))[:, blocks], bits) if bits else table[:, blocks]
    return np.ascontiguousarray(table if array.ndim > 1 else table.ravel())
