"""From a trace to one score per unit: every producing weight is scored once, its rows are given to their groups."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.aggregate import Combine, aggregate
from onnxprune.choose.score.registry import Criterion, Layer, layer_seed
from onnxprune.model.read_numbers import numbers
from onnxprune.trace.groups import Group, Trace
from onnxprune.trace.ops.context import Member

FloatArray = NDArray[np.float64]


def unit_scores(
    trace: Trace, groups: Sequence[Group], criterion: Criterion, *, how: Combine = "mean", seed: int = 0
) -> list[FloatArray]:
    """Scores (group.size,) for each group, higher for what should stay."""
    rows: dict[tuple[int, int, int], FloatArray] = {}
    position = np.full(trace.unit_count, -1, np.int64)
    result = []
    for group in groups:
        position[group.units] = np.arange(group.size)
        members = []
        for member in group.members:
            identity = (member.node, member.slot, member.axis)
            if identity not in rows:
                rows[identity] = criterion(layer_of(trace, member, seed))
            members.append((np.where(member.labels > 0, position[member.labels], -1), rows[identity]))
        result.append(aggregate(group.size, members, how))
        position[group.units] = -1
    return result


def layer_of(trace: Trace, member: Member, seed: int) -> Layer:
    """What a criterion sees of one producing weight: its rows, and gamma of a BatchNormalization right behind it."""
    node = trace.graph.nodes[member.node]
    array = numbers(trace.graph, node, member.slot)
    filters = np.moveaxis(array, member.axis, 0)
    filters = filters.reshape(filters.shape[0], -1)
    return Layer(node.label, filters, _gamma(trace, member, len(filters)), layer_seed(seed, node.label))


def _gamma(trace: Trace, member: Member, size: int) -> NDArray[np.float64] | None:
    node = trace.graph.nodes[member.node]
    for index, slot in trace.graph.consumers.get(node.outputs[0], ()):
        follower = trace.graph.nodes[index]
        if follower.op_type == "BatchNormalization" and slot == 0:
            scale = trace.graph.constants.get(follower.inputs[1])
            if scale is not None and scale.size == size:
                return np.abs(scale.array().astype(np.float64))
    return None
