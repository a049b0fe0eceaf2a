"""Removal curves of the groups of a network, from calibration data.

One walk over the original network gathers, for every layer that sums over removable indices, the second moments of its
inputs and outputs. As soon as all consumers of a group are known, a consumer criterion (greedy OBS by default) gives
the order in which its units leave and the error of each prefix; then the moments are forgotten.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from onnxprune.capture.features import Linear, linear_layer, residual_partner
from onnxprune.capture.moments import Moments, accumulate
from onnxprune.capture.walker import Array, Walker
from onnxprune.score.consumers import Consumer, Removal, get
from onnxprune.trace.groups import Group, Trace

MOST_SHRINKAGE = 10.0


def removal_curves(
    trace: Trace,
    groups: Sequence[Group],
    batches: list[dict[str, Array]],
    *,
    criterion: str = "obs",
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Removal | None]:
    """One removal per group; None for a group that no layer with a plain weight sums over."""
    score = get(criterion)
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    readers = readers_of(trace, groups)
    waiting = {g: {layer.node for layer in layers} for g, layers in enumerate(readers)}
    moments: dict[int, Consumer] = {}
    result: list[Removal | None] = [None] * len(groups)
    todo = sorted({layer.node: layer for layers in readers for layer in layers}.items())
    for number, (index, layer) in enumerate(todo):
        moments[index] = _consumer(trace, walker, layer)
        for g, layers in enumerate(readers):
            if index not in waiting[g]:
                continue
            waiting[g].discard(index)
            if not waiting[g]:
                parts = [for_group(trace, groups[g], moments[one.node], one) for one in layers]
                result[g] = score(parts, groups[g].size, blocks=groups[g].blocks)
        unfinished = [layers for nodes, layers in zip(waiting.values(), readers, strict=True) if nodes]
        needed = {layer.node for layers in unfinished for layer in layers}
        moments = {node: value for node, value in moments.items() if node in needed}
        if progress is not None:
            progress(number + 1, len(todo))
    return result


def readers_of(trace: Trace, groups: Sequence[Group]) -> list[list[Linear]]:
    """Per group the layers that sum over its units and can be seen as matrices."""
    owner = np.full(trace.unit_count, -1, np.int64)
    for number, group in enumerate(groups):
        owner[group.units] = number
    result: list[list[Linear]] = [[] for _ in groups]
    for closing in trace.closings:
        node = trace.graph.nodes[closing.node]
        plain = closing.kind == "sum" and closing.slot == 0 and node.scope == 0
        layer = linear_layer(trace.graph, node) if plain else None
        if layer is not None:
            for number in np.unique(owner[closing.labels]).tolist():
                if number >= 0:
                    result[number].append(layer)
    return result


def _consumer(trace: Trace, walker: Walker, layer: Linear) -> Consumer:
    partner = residual_partner(trace.graph, layer.y)
    goal = partner[0] if partner else layer.y
    walker.reach([layer.x, layer.y, goal])
    found = accumulate(layer, walker.values(layer.x), walker.values(layer.y), 0, layer.node).fit
    power = found.power
    if partner:
        power = accumulate(layer, walker.values(layer.x)[:1], walker.values(goal)[:1], 0, layer.node).fit.power
    walker.drop_dead()
    return consumer_of(trace, layer, found, power)


def consumer_of(trace: Trace, layer: Linear, moments: Moments, power: float) -> Consumer:
    """Moments as a criterion sees them; no feature belongs to a unit yet (`for_group`).

    With fewer positions than features some features look redundant that are not; the second moments are shrunk
    towards a multiple of the identity, the more the fewer positions there are.
    """
    weight = layer.matrix(trace.graph.constants[layer.weight].array())
    bias = np.zeros((1, weight.shape[1]))
    if layer.bias is not None:
        bias[0] = trace.graph.constants[layer.bias].array().astype(np.float64).ravel()
    count = max(moments.positions, 1)
    gram, cross, start = moments.gram / count, moments.cross / count, np.concatenate([weight, bias])
    inner = len(gram) - 1
    pull = float(np.trace(gram[:inner, :inner])) / max(inner, 1) * min((inner / count) ** 2, MOST_SHRINKAGE)
    gram[np.arange(inner), np.arange(inner)] += pull
    cross[:inner] += pull * start[:inner]
    return Consumer(
        trace.graph.nodes[layer.node].label,
        gram,
        cross,
        start,
        np.full(len(weight) + 1, -1, np.int64),
        max(power, 1e-30),
    )


def for_group(trace: Trace, group: Group, consumer: Consumer, layer: Linear) -> Consumer:
    """The consumer with its features labelled by the units of one group."""
    axis = 1 if layer.kernel else -1
    labels = trace.axes(layer.x)[axis]
    assert labels is not None
    position = np.full(trace.unit_count, -1, np.int64)
    position[group.units] = np.arange(group.size)
    position[0] = -1
    unit = np.append(np.repeat(position[labels], layer.taps), -1)
    return Consumer(consumer.name, consumer.gram, consumer.cross, consumer.weight, unit, consumer.power)
