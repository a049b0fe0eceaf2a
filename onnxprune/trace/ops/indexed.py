"""Reading and writing at index tuples: GatherND, ScatterND, and their element-wise relatives.

Index tuples address the leading axes; the axes behind them move as whole slices, so labels pass there.
"""

from __future__ import annotations

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
    """Output: the leading axes of the indices, then the axes of the data that the tuples do not address."""
    batch, depth, axes = op.attribute("batch_dims", 0), _depth(op), op.axes(0)
    for axis in range(batch + depth):
        op.pin(axes[axis], "GatherND looks up positions on it")
    result: list[Labels] = [None] * (len(op.shape(1)) - 1)
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
    """out[i][j] = data[index[i][j]][j]: the other axes of data, indices and output are aligned where they agree."""
    if len(op.shape(0)) != len(op.shape(1)):
        raise NotUnderstood("its indices have another rank than its data")
    op.pin_axes(0, "GatherElements looks up positions on it")
    op.pin_axes(1, "GatherElements reads positions from it")
