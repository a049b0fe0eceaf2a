"""Reductions, pooling, resizing, and operators that look at a whole axis: that axis closes or stays, others pass."""

from __future__ import annotations

from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import Kept, NotUnderstood, Op
from onnxprune.trace.ops.registry import rule

REDUCTIONS = {
    "ReduceSum": "sum",
    "ReduceL1": "sum",
    "ReduceL2": "sum",
    "ReduceSumSquare": "sum",
    "ReduceMean": "mean",
    "ReduceMax": "max",
    "ReduceMin": "min",
}
WHOLE_AXIS = {
    "Softmax": ("axis", -1, "normalises over it"),
    "LogSoftmax": ("axis", -1, "normalises over it"),
    "Hardmax": ("axis", -1, "compares along it"),
    "LpNormalization": ("axis", -1, "normalises over it"),
    "TopK": ("axis", -1, "sorts along it"),
}


def reduced_axes(op: Op) -> list[int] | None:
    """Axes of a reduction (sorted), None where they are not known before the model runs."""
    rank = len(op.shape(0))
    if op.has(1):
        known = op.value(1)
        if known is None:
            return None
        given = [int(a) for a in known]
    else:
        given = op.attribute("axes") or []
    if not given:
        return [] if op.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted(a % rank for a in given)


@rule(*REDUCTIONS, "ReduceProd", "ReduceLogSum", "ReduceLogSumExp")
def reduction(op: Op) -> None:
    """Sums and extremes do not see removed indices; a mean becomes the mean of those that stay (so does its
    reference: see Closing.kind), as in a decomposed normalisation.
    """
    axes = reduced_axes(op)
    if axes is None:
        raise NotUnderstood("its axes are not known before it runs")
    result: list[Labels] = []
    for axis in range(len(op.shape(0))):
        label = op.label(0, axis)
        if axis not in axes:
            result.append(label)
            continue
        if label is not None:
            if op.type in REDUCTIONS:
                op.close(0, axis, REDUCTIONS[op.type])
            else:
                op.pin(label, f"{op.type} reduces over it")
        if op.attribute("keepdims", 1):
            result.append(None)
    op.set(0, result)


@rule("ArgMax", "ArgMin")
def argument(op: Op) -> None:
    rank = len(op.shape(0))
    axis = op.attribute("axis", 0) % rank
    op.pin(op.label(0, axis), f"{op.type} gives positions on it")
    axes = op.axes(0)
    op.set(0, [None if a == axis else axes[a] for a in range(rank) if a != axis or op.attribute("keepdims", 1)])


@rule(*WHOLE_AXIS)
def whole_axis(op: Op) -> None:
    """Before opset 13 Softmax and its relatives normalise over all axes from `axis` on."""
    name, default, what = WHOLE_AXIS[op.type]
    rank = len(op.shape(0))
    old = op.opset < 13 and op.type in ("Softmax", "LogSoftmax", "Hardmax")
    axis = op.attribute(name, 1 if old else default) % max(rank, 1)
    axes = op.axes(0)
    for a in range(axis, rank) if old else (axis,):
        op.pin(axes[a], f"{op.type} {what}")
        axes[a] = None
    for output in range(len(op.node.outputs)):
        op.set(output, axes)


@rule("CumSum")
def cumulative(op: Op) -> None:
    axis = op.value(1)
    if axis is None:
        raise NotUnderstood("its axis is not known before it runs")
    axes = op.axes(0)
    position = int(axis.ravel()[0]) % len(axes)
    op.pin(axes[position], "CumSum accumulates along it")
    op.set(0, axes)


@rule("LRN")
def local_response(op: Op) -> None:
    axes = op.axes(0)
    op.pin(axes[1], "LRN mixes neighbouring channels")
    op.set(0, axes)


@rule("MaxPool", "AveragePool", "LpPool", "GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def pooling(op: Op) -> None:
    op.pin_axes(0, f"{op.type} pools over it", but=(0, 1))
    axes = [*op.axes(0)[:2], *[None] * (len(op.shape(0)) - 2)]
    op.set(0, axes)
    op.set(1, [None] * len(axes))
    if len(op.node.outputs) > 1 and op.node.outputs[1]:
        op.pin(axes[1], f"{op.type} gives positions that count channels")


@rule("Resize", "Upsample")
def resize(op: Op) -> None:
    """Axes that keep their length pass; literal sizes follow the cut."""
    before, after, axes = op.shape(0), op.output_shape(), op.axes(0)
    result: list[Labels] = []
    for axis, labels in enumerate(axes):
        same = before[axis] is not None and before[axis] == after[axis]
        if not same:
            op.pin(labels, f"{op.type} interpolates along it")
        result.append(labels if same else None)
    op.set(0, result)
    if op.has(3):
        over = op.attribute("axes") or list(range(len(before)))

        def required(kept: Kept) -> list[int | None]:
            return [None if result[a] is None else kept.count(result[a], before[a] or 0) for a in over]

        op.literal(3, required)


@rule("GridSample")
def grid_sample(op: Op) -> None:
    """Samples space, every image at positions of its own; the channels of the image pass."""
    op.pin_axes(0, "GridSample samples it", but=(0, 1))
    op.pin_axes(1, "GridSample reads positions from it", but=(0,))
    images = op.tie(
        op.label(0, 0), op.label(1, 0), "GridSample samples every image at positions of its own, which stay"
    )
    op.set(0, [images, op.label(0, 1), *[None] * (len(op.shape(0)) - 2)])


@rule("RoiAlign", "MaxRoiPool")
def region(op: Op) -> None:
    """Regions take the place of the batch; channels pass."""
    op.pin_axes(0, f"{op.type} crops it", but=(1,))
    for slot in range(1, len(op.node.inputs)):
        op.pin_axes(slot, f"{op.type} reads regions from it")
    op.set(0, [None, op.label(0, 1), None, None])
