"""Data movement: the label vectors move as the data does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.values import slice_of
from onnxprune.trace.ops.atoms import STAYS, IntArray, Labels
from onnxprune.trace.ops.context import Edit, Kept, NotUnderstood, Op
from onnxprune.trace.ops.registry import rule
from onnxprune.trace.ops.reshape import project


@rule("Transpose")
def transpose(op: Op) -> None:
    axes = op.axes(0)
    perm = op.attribute("perm") or list(range(len(axes)))[::-1]
    if sorted(perm) != list(range(len(axes))):
        raise NotUnderstood("its perm does not fit its input")
    op.set(0, [axes[p] for p in perm])


@rule("Concat")
def concat(op: Op) -> None:
    """Along the axis the label vectors are joined (parts that cannot shrink enter as zeros); other axes are tied."""
    join(op, [s for s in range(len(op.node.inputs)) if op.has(s)])


def join(op: Op, slots: Sequence[int]) -> None:
    """The rule, for the parts at these slots."""
    rank = len(op.shape(slots[0]))
    axis = op.attribute("axis", 1) % max(rank, 1)
    result: list[Labels] = []
    for a in range(rank):
        labels = [op.label(slot, a) for slot in slots]
        if a != axis:
            found = labels[0]
            for other in labels[1:]:
                found = op.tie(found, other)
            result.append(found)
            continue
        sizes = [op.shape(slot)[a] for slot in slots]
        if all(label is None for label in labels):
            result.append(None)
        elif any(size is None for size in sizes):
            for label in labels:
                op.pin(label, "Concat joins it with an axis of unknown size")
            result.append(None)
        else:
            parts = [np.zeros(int(s or 0), np.int64) if x is None else x for x, s in zip(labels, sizes, strict=True)]
            result.append(np.concatenate(parts))
    op.set(0, result)


@rule("Split")
def split(op: Op) -> None:
    axes = op.axes(0)
    axis = op.attribute("axis", 0) % len(axes)
    sizes = [op.output_shape(k)[axis] for k in range(len(op.node.outputs))]
    labels = axes[axis]
    if labels is not None and (any(s is None for s in sizes) or sum(int(s or 0) for s in sizes) != labels.size):
        raise NotUnderstood("the sizes of its parts are unknown")
    bounds = np.cumsum([0, *[int(s or 0) for s in sizes]])
    parts: list[Labels] = []
    for k in range(len(sizes)):
        part = None if labels is None else labels[bounds[k] : bounds[k + 1]]
        parts.append(part)
        op.set(k, [part if a == axis else axes[a] for a in range(len(axes))])
    if labels is None:
        return

    def rewrite(edit: Edit) -> None:
        kept = [edit.count(part, int(size or 0)) for part, size in zip(parts, sizes, strict=True)]
        if kept == [int(s or 0) for s in sizes]:
            return
        if op.opset >= 13:
            edit.set_input(1, np.array(kept, np.int64))
            edit.set_attribute("num_outputs", None)
        else:
            edit.set_attribute("split", kept)

    op.rewrite(rewrite)


def kept_positions(kept: Kept, labels: IntArray, picked: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the surviving ones of `picked` (positions on the old axis) are on the cut axis."""
    mask = kept.mask(labels)
    new = np.cumsum(mask) - 1
    flat = picked.ravel()
    return np.asarray(new[flat[mask[flat]]], np.int64)


@rule("Slice")
def slice_(op: Op) -> None:
    """A slice of a cut axis is a slice again where the survivors lie evenly, a Gather otherwise."""
    axes = op.axes(0)
    bounds = _slice_bounds(op)
    result = list(axes)
    cut_axes: dict[int, NDArray[np.int64]] = {}
    for axis, bound in (bounds or {}).items():
        labels = axes[axis]
        if labels is not None:
            picked = np.arange(labels.size)[slice_of(*bound, labels.size)]
            result[axis] = labels[picked]
            cut_axes[axis] = picked
    if bounds is None:
        op.pin_axes(0, "Slice has bounds that are not known before it runs")
        result = [None] * len(axes)
    op.set(0, result)
    if cut_axes and bounds is not None:
        literal = op.opset < 10 or all(op.value(k) is not None and op.static(k).all() for k in range(1, 5) if op.has(k))
        op.rewrite(lambda edit: _rewrite_slice(edit, op, axes, dict(bounds), cut_axes, literal))


def _slice_bounds(op: Op) -> dict[int, tuple[int, int, int]] | None:
    """axis -> (start, end, step), or None if not all are known and some axis of the input can shrink."""
    rank = len(op.shape(0))
    starts: list[int | None]
    ends: list[int | None]
    steps: list[int | None]
    if op.opset < 10:
        starts, ends = op.attribute("starts"), op.attribute("ends")
        axes, steps = op.attribute("axes") or list(range(len(starts))), [1] * len(starts)
    else:
        given = [op.elements(slot) for slot in range(1, 5)]
        count = next((int(op.size(slot, 0)) for slot in (1, 2) if op.has(slot)), 0)
        axes = list(range(count)) if not op.has(3) else given[2]
        if axes is None or None in axes:
            return None
        starts, ends = given[0] or [None] * count, given[1] or [None] * count
        steps = given[3] or [None if op.has(4) else 1] * count
        _pin_open_bounds(op, rank, axes, starts, ends, steps)
    bounds = zip(axes, starts, ends, steps, strict=True)
    return {int(a) % rank: (s, e, t) for a, s, e, t in bounds if s is not None and e is not None and t is not None}


def _pin_open_bounds(op: Op, rank: int, axes: Sequence[Any], *bounds: Sequence[int | None]) -> None:
    """Axes that can shrink need bounds that are known, and the same for all symbolic sizes."""
    fixed = np.ones(len(axes), bool)
    for slot in (1, 2):
        if op.elements(slot) is not None:
            fixed &= op.static(slot)
    for position, axis in enumerate(axes):
        if None in (part[position] for part in bounds):
            op.pin(op.label(0, axis % rank), "Slice has bounds on it that are not known before it runs")
        elif not fixed[position]:
            op.pin(op.label(0, axis % rank), "Slice has bounds on it that depend on symbolic sizes")


def _rewrite_slice(
    edit: Edit,
    op: Op,
    axes: Sequence[Labels],
    bounds: dict[int, tuple[int, int, int]],
    cut: dict[int, IntArray],
    literal: bool,
) -> None:
    if all(edit.mask(labels).all() for a in cut if (labels := axes[a]) is not None):
        return
    if not literal:
        raise NotUnderstood("Slice cuts along an axis that shrinks together with one of symbolic size")
    places = {}
    for axis, picked in cut.items():
        labels = axes[axis]
        assert labels is not None
        places[axis] = kept_positions(edit, labels, picked)
        progression = _progression(places[axis])
        if progression is None:
            if len(bounds) > 1:
                raise NotUnderstood("Slice picks an uneven selection of several axes")
            _become_gather(edit, axis, places[axis])
            return
        bounds[axis] = progression
    order = sorted(bounds)
    columns = [[bounds[a][k] for a in order] for k in range(3)]
    if op.opset < 10:
        edit.set_attribute("starts", columns[0])
        edit.set_attribute("ends", columns[1])
        edit.set_attribute("axes", order)
        return
    for slot, values in ((1, columns[0]), (2, columns[1]), (3, order), (4, columns[2])):
        edit.set_input(slot, np.array(values, np.int64))


def _progression(places: NDArray[np.int64]) -> tuple[int, int, int] | None:
    if places.size == 0:
        return 0, 0, 1
    if places.size == 1:
        return int(places[0]), int(places[0]) + 1, 1
    steps = np.diff(places)
    step = int(steps[0])
    if (steps != step).any() or step == 0:
        return None
    end = int(places[-1]) + (1 if step > 0 else -1)
    return int(places[0]), end if end >= 0 else -(2**31), step


def _become_gather(edit: Edit, axis: int, places: NDArray[np.int64]) -> None:
    edit.proto.op_type = "Gather"
    del edit.proto.input[1:]
    del edit.proto.attribute[:]
    edit.set_input(1, places)
    edit.set_attribute("axis", axis)


@rule("Gather")
def gather(op: Op) -> None:
    """Known indices pick labels; unknown ones pin the axis. Rows of a constant table are looked up by other data."""
    axes = op.axes(0)
    axis = op.attribute("axis", 0) % max(len(axes), 1)
    rank = len(op.shape(1))
    labels = axes[axis]
    indices = op.fixed_value(1) if labels is not None else None
    moved: list[Labels] = [None] * rank
    if labels is not None and indices is None:
        op.pin(labels, "Gather looks it up by indices that are not known before it runs")
    elif labels is not None and indices is not None:
        picked = np.asarray(indices, np.int64)
        picked = np.where(picked < 0, picked + labels.size, picked)
        if picked.size and (picked.min() < 0 or picked.max() >= labels.size):
            raise NotUnderstood("its indices are out of range")
        if rank == 1:
            moved = [labels[picked]]
        elif rank > 1:
            project(op, labels[picked], range(rank), moved)
        else:
            op.pin(labels[picked].reshape(1), "Gather picks this very index")
        op.rewrite(lambda edit: _rewrite_gather(edit, labels, picked))
    for other, label in enumerate(axes):
        if other != axis and op.constant(0) is not None and label is not None:
            op.member(0, other)
    op.set(0, [*axes[:axis], *moved, *axes[axis + 1 :]])


def _rewrite_gather(edit: Edit, labels: IntArray, picked: NDArray[np.int64]) -> None:
    mask = edit.mask(labels)
    if mask.all():
        return
    new = np.cumsum(mask) - 1
    if picked.ndim <= 1:
        edit.set_input(1, np.asarray(new[picked[mask[picked]]] if picked.ndim else new[picked], np.int64))
        return
    alive = mask[picked]
    for axis in range(picked.ndim):  # exactly one axis shrinks, evenly (the projection tied the others)
        rows = np.moveaxis(alive, axis, 0).reshape(alive.shape[axis], -1)
        if (rows == rows[:, :1]).all():
            edit.set_input(1, np.asarray(new[np.compress(rows[:, 0], picked, axis)], np.int64))
            return
    raise NotUnderstood("Gather picks an uneven selection")


@rule("Pad")
def pad(op: Op) -> None:
    """Padding on an axis makes up indices of its own; with an axis that cannot shrink they stay."""
    axes, rank = op.axes(0), len(op.shape(0))
    pads = _pads(op, rank)
    if pads is None:
        op.pin_axes(0, "Pad has sizes that are not known before it runs")
        op.set(0, [None] * rank)
        return
    result = list(axes)
    made: dict[int, tuple[Labels, Labels]] = {}
    for axis, (before, after) in enumerate(pads):
        size = op.shape(0)[axis]
        if before == after == 0 or size is None:
            continue
        labels = axes[axis]
        if before < 0 or after < 0 or op.attribute("mode", "constant") != "constant":
            op.pin(labels, "Pad crops or repeats it")
            result[axis] = None
            continue
        if labels is None and size > 1:
            continue
        ends = np.split(op.state.atoms.fresh(before + after), [before])  # of one origin: both sides are alike
        made[axis] = (ends[0], ends[1])
        middle = np.full(size, STAYS, np.int64) if labels is None else labels
        result[axis] = np.concatenate([ends[0], middle, ends[1]])
    op.set(0, result)
    if made:
        op.rewrite(lambda edit: _rewrite_pad(edit, op, pads, made))


def _pads(op: Op, rank: int) -> list[tuple[int, int]] | None:
    if op.opset < 11:
        flat: list[int | None] = op.attribute("pads")
        axes = list(range(rank))
    else:
        known = op.elements(1)
        chosen = op.value(3) if op.has(3) else np.arange(rank)
        if chosen is None:
            return None
        axes = [int(a) % rank for a in chosen]
        if known is None:
            return [(0, 0)] * rank if all(op.label(0, a) is None for a in axes) else None
        flat, fixed = known, op.static(1)
        if not fixed.all():  # sizes that depend on symbolic ones stay computed: nothing can be written down beside them
            shrink = [k for k, a in enumerate(axes) if op.label(0, a) is not None]
            ends = [k + shift for k in shrink for shift in (0, len(axes))]
            return [(0, 0)] * rank if all(fixed[e] and flat[e] == 0 for e in ends) else None
    result = [(0, 0)] * rank
    for k, axis in enumerate(axes):
        result[axis] = (int(flat[k] or 0), int(flat[len(axes) + k] or 0))
    return result


def _rewrite_pad(edit: Edit, op: Op, pads: list[tuple[int, int]], made: dict[int, tuple[Labels, Labels]]) -> None:
    new = list(pads)
    for axis, (before, after) in made.items():
        new[axis] = (edit.count(before, 0), edit.count(after, 0))
    if new == pads:
        return
    flat = [p[0] for p in new] + [p[1] for p in new]
    if op.opset < 11:
        edit.set_attribute("pads", flat)
        return
    edit.set_input(1, np.array(flat, np.int64))
    if op.has(3):
        edit.set_input(3, np.arange(len(pads), dtype=np.int64))


@rule("DepthToSpace", "SpaceToDepth")
def depth_to_space(op: Op) -> None:
    """Channels move to pixels: all channels that make one output channel's pixels live and die together."""
    block, channels = op.attribute("blocksize"), op.size(0, 1)
    axes = op.axes(0)
    op.pin_axes(0, f"{op.type} mixes it with channels", but=(0, 1))
    labels = axes[1]
    result: list[Labels] = [axes[0], None, None, None]
    if labels is not None and op.type == "SpaceToDepth":
        result[1] = np.tile(labels, block * block)
    elif labels is not None:
        last = op.attribute("mode", "DCR") == "CRD"
        parts = labels.reshape(channels // block**2, -1) if last else labels.reshape(block**2, -1).T
        for k in range(1, parts.shape[1]):
            op.tie(np.ascontiguousarray(parts[:, 0]), np.ascontiguousarray(parts[:, k]))
        result[1] = parts[:, 0].copy()
    op.set(0, result)
