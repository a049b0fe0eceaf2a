"""Normalisations. Over a cut axis the statistics run over the kept indices only: that is what the smaller network
computes, and what its reference (a decomposition with masks) computes from the original weights.
"""

from __future__ import annotations

import numpy as np

from onnxprune.trace.ops.atoms import Labels
from onnxprune.trace.ops.context import Choice, NotUnderstood, Op, Reference
from onnxprune.trace.ops.contraction import SEVERAL, WIDE
from onnxprune.trace.ops.registry import MICROSOFT, rule

PER_CHANNEL = 21
"""From this operator set on GroupNormalization has a scale and a bias per channel, before per group."""
PART = "GroupNormalization has one scale for its group, and another part of that stays"


@rule("BatchNormalization")
def batch_normalization(op: Op) -> None:
    """Per channel: scale, bias, mean and variance are cut along."""
    axes = op.axes(0)
    if len(axes) < 2:
        raise NotUnderstood("its input has no channel axis")
    for slot in range(1, 5):
        axes[1] = op.tie(axes[1], op.label(slot, 0)) if op.size(0, 1) > 1 else None
    op.set(0, axes)
    for output in range(1, len(op.node.outputs)):
        if op.node.outputs[output]:
            op.pin(axes[1], "BatchNormalization is in training form")


@rule("InstanceNormalization")
def instance_normalization(op: Op) -> None:
    """Each channel is normalised over space; a space axis that carries indices (groups of channels) is masked."""
    axes = op.axes(0)
    for slot in (1, 2):
        if op.size(0, 1) > 1:
            axes[1] = op.tie(axes[1], op.label(slot, 0))
    normalised = [a for a in range(2, len(axes)) if axes[a] is not None]
    for axis in normalised:
        op.close(0, axis, "norm")
    op.set(0, axes)
    if normalised:
        over = list(range(2, len(axes)))
        op.reference(lambda ref: _standardise(ref, axes, over, op.attribute("epsilon", 1e-5), scale=1, bias=2, axis=1))


@rule("GroupNormalization")
def group_normalization(op: Op) -> None:
    """Statistics per group of channels: equally many leave each group (scale and bias per channel since opset 21).

    Before, scale and bias are per group, and groups leave whole, so that nothing else changes; wide ones, and few, lose
    channels as well (as groups of a convolution do), and so do those that cannot leave.
    """
    groups, axes = op.attribute("num_groups"), op.axes(0)
    whole = op.opset < PER_CHANNEL and _groups_leave(op, axes[1], groups)
    for slot in (1, 2):
        if op.opset >= PER_CHANNEL:
            axes[1] = op.tie(axes[1], op.label(slot, 0))
        elif whole and axes[1] is not None:
            op.tie(axes[1].reshape(groups, -1)[:, 0], op.label(slot, 0))
        else:
            op.pin_axes(slot, "GroupNormalization has one scale per group")
    if axes[1] is not None and not whole:
        op.equal_per_block(axes[1], groups)
        op.close(0, 1, "norm")
        op.reference(lambda ref: _group_reference(ref, op, axes[1], groups))
    op.pin_axes(0, "GroupNormalization normalises over it", but=(0, 1))
    op.set(0, axes)


def _groups_leave(op: Op, labels: Labels, groups: int) -> bool:
    """Whether a unit is a group of channels here; if so, these are tied, and the groups counted again."""
    if labels is None or groups < SEVERAL or labels.size // groups >= WIDE:
        return False
    taken = op.state.choices.get(op.node.index, 0)
    if taken == 0:
        rows = labels.reshape(groups, -1)
        for column in rows.T[1:]:
            op.tie(np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(column), PART)
        first = rows[:, 0].copy()
        op.rewrite(lambda edit: edit.set_attribute("num_groups", edit.count(first, groups)))
    op.state.taken.append(Choice(op.node.index, 2, taken, labels))
    return taken == 0


@rule("MeanVarianceNormalization")
def mean_variance_normalization(op: Op) -> None:
    """Axes that it does not normalise over pass: the channels, as a rule."""
    axes = op.axes(0)
    for axis in op.attribute("axes") or (0, 2, 3):
        op.pin(axes[axis], "MeanVarianceNormalization normalises over it")
        axes[axis] = None
    op.set(0, axes)


@rule("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
@rule("SimplifiedLayerNormalization", domain=MICROSOFT)
def layer_normalization(op: Op) -> None:
    """Normalised over all axes from `axis` on; scale and bias are cut along."""
    axes, rank = op.axes(0), len(op.shape(0))
    first = op.attribute("axis", -1) % rank
    for slot in (1, 2):
        if op.has(slot):
            lead = rank - len(op.shape(slot))
            for axis in range(max(first, lead), rank):
                if op.shape(slot)[axis - lead] != 1:
                    axes[axis] = op.tie(axes[axis], op.label(slot, axis - lead))
    normalised = [a for a in range(first, rank) if axes[a] is not None]
    for axis in normalised:
        op.close(0, axis, "norm")
    op.set(0, axes)
    for output in range(1, len(op.node.outputs)):
        op.set(output, [*axes[:first], *[None] * (rank - first)])
    if normalised:
        centred = op.type == "LayerNormalization"
        over = list(range(first, rank))
        epsilon = op.attribute("epsilon", 1e-5)
        op.reference(lambda ref: _standardise(ref, axes, over, epsilon, scale=1, bias=2, axis=None, centred=centred))


@rule("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(op: Op) -> None:
    """input + skip (+ bias), then layer normalisation over the last axis; output 3 is the sum."""
    axes = op.axes(0)
    simple = op.type == "SkipSimplifiedLayerNormalization"
    gamma, beta, bias = 2, None if simple else 3, 3 if simple else 4
    for a, label in enumerate(op.axes(1), start=len(axes) - len(op.shape(1))):
        if op.shape(1)[a - len(axes)] != 1:
            axes[a] = op.tie(axes[a], label)
    for slot in (gamma, beta, bias):
        if slot is not None and op.has(slot):
            axes[-1] = op.tie(axes[-1], op.label(slot, -1))
    op.set(0, axes)
    op.set(3, axes)
    if axes[-1] is None:
        return
    op.close(0, len(axes) - 1, "norm")

    def reference(ref: Reference) -> None:
        total = ref.add("Add", [ref.node.proto.input[0], ref.node.proto.input[1]])
        if op.has(bias):
            total = ref.add("Add", [total, ref.node.proto.input[bias]])
        ref.finish(total, 3)
        epsilon = op.attribute("epsilon", 1e-12)
        over = [len(axes) - 1]
        _standardise(ref, axes, over, epsilon, gamma, beta, None, centred=not simple, data=total)

    op.reference(reference)


def _standardise(
    ref: Reference,
    axes: list[Labels],
    over: list[int],
    epsilon: float,
    scale: int,
    bias: int | None,
    axis: int | None,
    centred: bool = True,
    data: str | None = None,
) -> None:
    """(x - mean) / sqrt(var + epsilon) * scale + bias, mean and var over the kept indices of the axes `over`."""
    x = data or ref.node.proto.input[0]
    rank = len(axes)
    mask = None
    for a in over:
        labels = axes[a]
        if labels is not None:
            one = ref.mask(labels, rank, a)
            mask = one if mask is None else ref.add("Mul", [mask, one])
    assert mask is not None
    share = ref.add("ReduceMean", [mask, ref.constant(np.array(over, np.int64))], keepdims=1)

    def mean(value: str) -> str:
        masked = ref.add("Mul", [value, mask or ""])
        return ref.add("Div", [ref.add("ReduceMean", [masked, ref.constant(np.array(over, np.int64))]), share])

    if centred:
        x = ref.add("Sub", [x, mean(x)])
    variance = mean(ref.add("Mul", [x, x]))
    x = ref.add("Div", [x, ref.add("Sqrt", [ref.add("Add", [variance, ref.number(epsilon)])])])
    for slot, operator in ((scale, "Mul"), (bias, "Add")):
        if slot is not None and slot < len(ref.node.proto.input) and ref.node.proto.input[slot]:
            parameter = ref.node.proto.input[slot]
            if axis is not None:
                shape = [1] * rank
                shape[axis] = -1
                parameter = ref.add("Reshape", [parameter, ref.constant(np.array(shape, np.int64))])
            x = ref.add(operator, [x, parameter])
    ref.finish(x)


def _group_reference(ref: Reference, op: Op, labels: Labels, groups: int) -> None:
    """Reshape to (N, G, C/G, ...), standardise over all but the first two axes with the mask, and back."""
    assert labels is not None
    rank = len(op.shape(0))
    x, per_group = ref.node.proto.input[0], labels.size // groups
    split = ref.constant(np.array([0, groups, per_group, -1], np.int64))
    view = ref.add("Reshape", [x, split])
    mask = ref.add("Reshape", [ref.mask(labels, 1, 0), ref.constant(np.array([1, groups, per_group, 1], np.int64))])
    over = ref.constant(np.array([2, 3], np.int64))
    share = ref.add("ReduceMean", [mask, over], keepdims=1)

    def mean(value: str) -> str:
        return ref.add("Div", [ref.add("ReduceMean", [ref.add("Mul", [value, mask]), over]), share])

    view = ref.add("Sub", [view, mean(view)])
    deviation = ref.add(
        "Sqrt", [ref.add("Add", [mean(ref.add("Mul", [view, view])), ref.number(op.attribute("epsilon", 1e-5))])]
    )
    result, shape = ref.add("Div", [view, deviation]), ref.add("Shape", [x])
    per_channel = op.opset >= PER_CHANNEL
    if per_channel:
        result = ref.add("Reshape", [result, shape])
    column = ref.constant(np.array([-1] + [1] * (rank - 2 if per_channel else 2), np.int64))
    for slot, operator in ((1, "Mul"), (2, "Add")):
        result = ref.add(operator, [result, ref.add("Reshape", [ref.node.proto.input[slot], column])])
    ref.finish(result if per_channel else ref.add("Reshape", [result, shape]))
