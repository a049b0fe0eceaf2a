"""Repetition: copies of what is there (Tile, Expand), and equal values made up (ConstantOfShape)."""

from __future__ import annotations

import numpy as np

from onnxprune.trace.ops.atoms import IntArray, Labels
from onnxprune.trace.ops.context import Kept, NotUnderstood, Op
from onnxprune.trace.ops.registry import rule


@rule("Tile")
def tile(op: Op) -> None:
    """Repeated labels: the copies live and die together. Copies of a single index are as good as each other."""
    axes, before, after = op.axes(0), op.shape(0), op.output_shape()
    repeats = op.elements(1) or [None] * len(axes)
    static = op.static(1).ravel() if op.elements(1) is not None else np.zeros(len(axes), bool)
    if len(repeats) != len(axes):
        raise NotUnderstood("its repeats do not fit its input")
    result: list[Labels] = []
    made: dict[int, IntArray] = {}
    for axis, (labels, size, count) in enumerate(zip(axes, after, repeats, strict=True)):
        if count == 1 and static[axis]:
            result.append(labels)
        elif labels is not None and size is not None and size % labels.size == 0:
            result.append(np.tile(labels, size // labels.size))
        else:
            op.pin(labels, "Tile repeats it an unknown number of times")
            single = before[axis] == 1 and not op.state.statics.varies(op.node.inputs[0], axis)
            fresh = op.fresh(count) if single and count is not None and static[axis] else None
            if fresh is not None:
                made[axis] = fresh
            result.append(fresh)
    op.set(0, result)
    if made:
        op.literal(1, lambda kept: [kept.count(made[a], 1) if a in made else None for a in range(len(axes))])


@rule("Expand")
def expand(op: Op) -> None:
    """Axes that are there already pass; the target's sizes follow the cut."""
    if len(op.shape(1)) != 1:
        raise NotUnderstood("its target is no list of sizes")
    target = op.elements(1)
    axes, before, after = op.axes(0), op.shape(0), op.output_shape()
    lead = len(after) - len(before)
    result: list[Labels] = []
    for labels, size, new in zip([None] * lead + axes, [1] * lead + list(before), after, strict=True):
        if size == 1 and new not in (1, None):
            result.append(op.fresh(int(new or 1)))  # equal values along an axis: any part of them is as good
        else:
            result.append(labels)
    op.set(0, result)
    offset = len(after) - (len(target) if target is not None else op.shape(1)[0] or 0)

    def required(kept: Kept) -> list[int | None]:
        sizes: list[int | None] = []
        for axis in range(offset, len(after)):
            labels, size = result[axis], after[axis]
            stays = labels is None or size is None or (target is not None and target[axis - offset] == 1)
            sizes.append(None if stays else kept.count(labels, size or 0))
        return sizes

    op.literal(1, required)


@rule("ConstantOfShape")
def constant_of_shape(op: Op) -> None:
    """Equal values everywhere: every index of every axis may go, if whoever meets it can spare it."""
    after = op.output_shape()
    result = [op.fresh(size) if size is not None else None for size in after]
    op.set(0, result)
    op.literal(
        0, lambda kept: [None if x is None else kept.count(x, s or 0) for x, s in zip(result, after, strict=True)]
    )
