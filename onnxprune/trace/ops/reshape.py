"""Reshape and its relatives (Flatten, Squeeze, Unsqueeze): axes merge and split.

Both shapes are aligned into blocks of equal size. Inside a block the labels are laid out as an array of the block's
input shape, reshaped as the operator reshapes data, and projected back onto one output axis. A projection that would
merge different atoms is a choice (context.Choice): one axis carries the atoms and its indices are tied over the others.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from onnxprune.model.infer import Shape
from onnxprune.trace.ops.atoms import STAYS, IntArray, Labels
from onnxprune.trace.ops.context import Choice, Edit, Kept, NotUnderstood, Op
from onnxprune.trace.ops.registry import rule

Block = tuple[list[int], list[int]]


def align(before: Shape, after: Shape) -> list[Block]:
    """Blocks (input axes, output axes) of equal element counts, as fine as possible; unknown sizes match in pairs."""
    left, i, j = _pass(before, after)
    if i == len(before) and j == len(after):
        return left
    right, back_i, back_j = _pass(before[i:][::-1], after[j:][::-1])
    n, m = len(before), len(after)
    mirrored = [([n - 1 - a for a in x][::-1], [m - 1 - b for b in y][::-1]) for x, y in right][::-1]
    middle = (list(range(i, n - back_i)), list(range(j, m - back_j)))
    return [*left, *([middle] if middle[0] or middle[1] else []), *mirrored]


def _pass(before: Shape, after: Shape) -> tuple[list[Block], int, int]:
    blocks: list[Block] = []
    i = j = 0
    while i < len(before) or j < len(after):
        if i < len(before) and j < len(after) and before[i] == after[j]:
            blocks.append(([i], [j]))
            i, j = i + 1, j + 1
            continue
        end = _grow(before, after, i, j)
        if end is None:
            return blocks, i, j
        blocks.append((list(range(i, end[0])), list(range(j, end[1]))))
        i, j = end
    return blocks, i, j


def _grow(before: Shape, after: Shape, i: int, j: int) -> tuple[int, int] | None:
    """End of the smallest block from (i, j) with equal products, or None where an unknown size is in the way."""
    a, b = 1, 1
    start = (i, j)
    while True:
        if a == b and (i, j) != start:
            return i, j
        take_a = a <= b and i < len(before) if a != b else i < len(before)
        if take_a:
            size = before[i]
            if size is None:
                return None
            a, i = a * size, i + 1
        elif j < len(after):
            size = after[j]
            if size is None:
                return None
            b, j = b * size, j + 1
        else:
            return None


def relayout(op: Op, before: Shape, after: Shape, axes: Sequence[Labels]) -> list[Labels]:
    """Labels of the reshaped tensor."""
    result: list[Labels] = [None] * len(after)
    for ins, outs in align(before, after):
        labelled = [axis for axis in ins if axes[axis] is not None]
        if not labelled:
            continue
        if len(ins) == 1 and len(outs) == 1:
            result[outs[0]] = axes[ins[0]]
            continue
        sizes_in, sizes_out = [before[a] for a in ins], [after[b] for b in outs]
        if not outs or _elements(sizes_in) is None or _elements(sizes_in) != _elements(sizes_out):  # or hard-coded
            for axis in labelled:
                op.pin(axes[axis], f"{op.type} mixes it with an axis of unknown size")
            continue
        labelled.sort(key=lambda axis: _made_up(op, axes[axis]), reverse=True)
        for axis in labelled[:-1]:
            op.pin(axes[axis], f"{op.type} merges it with another axis that can shrink")
        carrier = labelled[-1]
        labels = axes[carrier]
        assert labels is not None
        shape = [1] * len(ins)
        shape[ins.index(carrier)] = labels.size
        full = np.broadcast_to(labels.reshape(shape), [int(s or 0) for s in sizes_in])
        project(op, full.reshape([int(s or 0) for s in sizes_out]), outs, result)
    return result


def _elements(sizes: Sequence[int | None]) -> int | None:
    return None if None in sizes else math.prod(int(s or 0) for s in sizes)


def _made_up(op: Op, labels: Labels) -> bool:
    return labels is not None and int(labels[0]) in op.state.made_up


def project(op: Op, block: IntArray, outs: Sequence[int], result: list[Labels]) -> None:
    """Put the atoms of `block` (one axis per output axis in `outs`) onto one axis; the choice is the state's.

    Candidates are the axes longer than 1, the longest first (the inner one of equal ones): pieces of a whole rather
    than whole pieces, channels rather than heads. `--units heads` reverses it.
    """
    candidates = [a for a in range(block.ndim) if block.shape[a] > 1]
    if not candidates:
        return
    lossless = next((a for a in candidates if _constant_but(block, a)), None)
    if lossless is not None:
        result[outs[lossless]] = np.moveaxis(block, lossless, 0).reshape(block.shape[lossless], -1)[:, 0].copy()
        return
    candidates.sort(key=lambda a: (block.shape[a], a), reverse=True)
    if op.state.prefer_outer:
        candidates.sort()
        candidates = candidates[-2:] + candidates[:-2]
    taken = op.state.choices.get(op.node.index, 0) % len(candidates)
    axis = candidates[taken]
    rows = np.ascontiguousarray(np.moveaxis(block, axis, 0).reshape(block.shape[axis], -1))
    first = np.ascontiguousarray(np.broadcast_to(rows[:, :1], rows[:, 1:].shape))
    what = f"{op.type} splits its axis, and another part of it stays"
    labels = op.tie(first.ravel(), rows[:, 1:].ravel(), what)
    assert labels is not None
    carried = rows.min(axis=1) if (rows == STAYS).any() else rows[:, 0].copy()
    op.state.taken.append(Choice(op.node.index, len(candidates), taken, carried))
    result[outs[axis]] = carried


def _constant_but(block: IntArray, axis: int) -> bool:
    rows = np.moveaxis(block, axis, 0).reshape(block.shape[axis], -1)
    return bool((rows == rows[:, :1]).all())


def _apply(op: Op) -> list[Labels]:
    before, after = op.shape(0), op.output_shape()
    result = relayout(op, before, after, op.axes(0))
    op.set(0, result)
    return result


@rule("Reshape")
def reshape(op: Op) -> None:
    """The target's literal sizes follow the cut: 0 and -1 stay where they still mean the same."""
    before, after = op.shape(0), op.output_shape()
    axes = op.axes(0)
    result = _apply(op)
    allow_zero = bool(op.attribute("allowzero", 0))
    target = op.elements(1) if op.opset >= 5 else None
    if target is not None and len(target) != len(after):
        raise NotUnderstood("its target does not fit its output")

    def required(kept: Kept) -> list[int | None]:
        sizes: list[int | None] = []
        for axis, (labels, size) in enumerate(zip(result, after, strict=True)):
            if labels is None or size is None:
                sizes.append(None)
                continue
            new = kept.count(labels, size)
            given = None if target is None else target[axis]
            copied = given == 0 and not allow_zero and axis < len(before)
            if given == -1 or (copied and kept.count(axes[axis], before[axis] or 0) == new):
                sizes.append(None)
            else:
                sizes.append(new)
        return sizes

    op.literal(1, required)


@rule("Flatten", "Unsqueeze")
def refold(op: Op) -> None:
    """The output's shape follows from the input's."""
    _apply(op)


@rule("Squeeze")
def squeeze(op: Op) -> None:
    """Without axes, every axis of size 1 goes: an axis that shrinks to 1 must not, so the axes are written down."""
    _apply(op)
    if op.has(1) or op.attribute("axes"):
        return
    alone = [axis for axis, size in enumerate(op.shape(0)) if size == 1]
    labels = [label for label in op.axes(0) if label is not None]

    def rewrite(edit: Edit) -> None:
        if all(edit.count(label, label.size) > 1 for label in labels):
            return
        if op.opset >= 13:
            edit.set_input(1, np.array(alone, np.int64))
        else:
            edit.set_attribute("axes", alone)

    if labels:
        op.rewrite(rewrite)
