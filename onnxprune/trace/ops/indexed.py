"""Reading and writing at index tuples: GatherND, ScatterND, and their element-wise relatives.

Index tuples address the leading axes; the axes behind them move as whole slices, so labels pass there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.trace.ops.atoms import IntArray, Labels
from onnxprune.trace.ops.context import Edit, NotUnderstood, Op
from onnxprune.trace.ops.registry import rule


def _depth(op: Op) -> int:
    """Axes of the data that one index tuple addresses."""
    return op.size(1, -1)


@rule("ScatterND")
def scatter_nd(op: Op) -> None:
    """out = data; out[indices] = updates. An axis written at known positions keeps its labels, others stay."""
    depth, axes = _depth(op), op.axes(0)
    lead = len(op.shape(1)) - 1
    written = _known_rows(op, depth)
    for axis in range(depth):
        if written is None or axes[0] is None:
            op.pin(axes[axis], "ScatterND writes at positions on it")
            axes[axis] = None
    for axis in range(lead):
        update = op.label(2, axis)
        if written is not None and axes[0] is not None and lead == 1:
            op.tie(axes[0][written], update)
        else:
            op.pin(update, "ScatterND takes its rows one by one")
    for offset in range(len(axes) - depth):
        axis = depth + offset
        if op.shape(0)[axis] != 1:
            axes[axis] = op.tie(axes[axis], op.label(2, lead + offset))
    op.set(0, axes)
    labels = axes[0]
    if written is not None and labels is not None:
        op.rewrite(lambda edit: _rewrite_rows(edit, labels, written))


def _known_rows(op: Op, depth: int) -> NDArray[np.int64] | None:
    """Positions on axis 0 if they are known before the model runs, and index only that axis."""
    known = op.fixed_value(1)
    if depth != 1 or known is None or known.ndim != 2:
        return None
    rows = known.reshape(-1).astype(np.int64)
    size = op.size(0, 0)
    return np.where(rows < 0, rows + size, rows)


def _rewrite_rows(edit: Edit, labels: IntArray, rows: NDArray[np.int64]) -> None:
    mask = edit.mask(labels)
    if not mask.all():
        new = np.cumsum(mask) - 1
        edit.set_input(1, np.asarray(new[rows[mask[rows]]], np.int64).reshape(-1, 1))


@rule("GatherND")
def gather_nd(op: Op) -> None:
    """Output: the leading axes of the indices, then the axes of the data that the tuples do not address. Axes that
    count batches are aligned.
    """
    batch, depth, axes = op.attribute("batch_dims", 0), _depth(op), op.axes(0)
    for axis in range(batch, batch + depth):
        op.pin(axes[axis], "GatherND looks up positions on it")
    result: list[Labels] = [op.label(1, axis) for axis in range(len(op.shape(1)) - 1)]
    for axis in range(batch):
        result[axis] = op.tie(axes[axis], result[axis], "GatherND has indices of its own for each of them")
    op.set(0, [*result, *axes[batch + depth :]])


@rule("Trilu")
def triangle(op: Op) -> None:
    """Masks the last two axes by position; leading ones pass."""
    rank = len(op.shape(0))
    op.pin_axes(0, "Trilu masks it by position", but=range(rank - 2))
    op.set(0, [*op.axes(0)[: rank - 2], None, None])


@rule("NonZero")
def nonzero(op: Op) -> None:
    op.pin_axes(0, "NonZero gives positions on it")


@rule("GatherElements")
def gather_elements(op: Op) -> None:
    """out[i][j] = data[index[i][j]][j]: on the other axes, data, indices and output lose the same.

    So a feature leaves wherever indices of its own are not needed: they are equal for all (Expand), or constant.
    """
    axis, axes = _element_axis(op), op.axes(0)
    op.pin(axes[axis], "GatherElements looks up positions on it")
    axes[axis] = op.label(1, axis)
    op.set(0, _aligned(op, axis, axes, (1,)))


@rule("ScatterElements", "Scatter")
def scatter_elements(op: Op) -> None:
    """out = data; out[index[i][j]][j] = updates[i][j], or is added to: on the other axes, all lose the same."""
    axis, axes = _element_axis(op), op.axes(0)
    if len(op.shape(2)) != len(axes):
        raise NotUnderstood("its updates have another rank than its data")
    op.pin(axes[axis], f"{op.type} writes at positions on it")
    axes[axis] = None
    for slot in (1, 2):
        op.pin(op.label(slot, axis), f"{op.type} takes its rows one by one")
    op.set(0, _aligned(op, axis, axes, (1, 2)))


def _element_axis(op: Op) -> int:
    """The axis on which positions are looked up."""
    rank = len(op.shape(0))
    if len(op.shape(1)) != rank:
        raise NotUnderstood("its indices have another rank than its data")
    axis = int(op.attribute("axis", 0))
    if not -rank <= axis < rank:
        raise NotUnderstood(f"its axis {axis} is out of range")
    return axis % rank


def _aligned(op: Op, axis: int, axes: list[Labels], slots: tuple[int, ...]) -> list[Labels]:
    """`axes` with the others tied to those of the indices and updates (`slots`). Known indices are cut along."""
    constant = op.constant(1)
    known = op.fixed_value(1) if constant is None else constant.array()
    cut: dict[int, IntArray] = {}
    for a in range(len(axes)):
        if a == axis:
            continue
        sizes = {op.shape(slot)[a] for slot in (0, *slots)}
        if len(sizes) > 1:  # only the first of them are written or read
            for labels in (axes[a], *(op.label(slot, a) for slot in slots)):
                op.pin(labels, f"{op.type} has fewer indices than data on it")
            axes[a] = None
            continue
        for slot in slots:
            if slot == 1 and known is not None:
                labels = axes[a]
                if labels is not None:
                    cut[a] = labels
            elif sizes != {1}:
                axes[a] = op.tie(axes[a], op.label(slot, a), f"{op.type} takes indices of its own for each of them")
    if cut and known is not None:
        indices = known
        op.rewrite(lambda edit: _cut_indices(edit, indices, cut))
    return axes


def _cut_indices(edit: Edit, indices: NDArray[Any], cut: dict[int, IntArray]) -> None:
    new = indices
    for a, labels in cut.items():
        new = np.compress(edit.mask(labels), new, axis=a)
    if new.shape != indices.shape:
        edit.set_input(1, new)
