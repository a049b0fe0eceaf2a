"""Removal curves by any judge: a consumer criterion, or an order that is given and what a refit leaves of its error."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Linear, residual_partner
from onnxprune.capture.moments import accumulate
from onnxprune.capture.walker import Array, Walker
from onnxprune.curves import consumer_of, for_group, readers_of
from onnxprune.score.consumers import Consumer, Removal, get, refit_errors
from onnxprune.trace.groups import Group, Trace

Judge = Callable[[int, Sequence[Consumer]], Removal]
"""(number of the group, the layers that read it) -> the order in which its units leave, and its errors."""


def by_criterion(groups: Sequence[Group], name: str) -> Judge:
    """A consumer criterion."""
    score = get(name)
    return lambda g, readers: score(readers, groups[g].size, blocks=groups[g].blocks)


def by_order(orders: Sequence[NDArray[np.int64]]) -> Judge:
    """Orders (n,) that are known, such as those of a weight criterion; errors as all other weights follow."""
    return lambda g, readers: Removal(orders[g], refit_errors(readers, orders[g]))


def judged_curves(
    trace: Trace,
    groups: Sequence[Group],
    judge: Judge,
    batches: list[dict[str, Array]],
    *,
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Removal | None]:
    """One removal per group; None for a group that no layer with a plain weight sums over."""
    readers = readers_of(trace, groups)
    layers = sorted({layer.node: layer for found in readers for layer in found}.items())
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    known: dict[int, Consumer] = {}
    result: list[Removal | None] = [None] * len(groups)
    for number, (index, layer) in enumerate(layers):
        known[index] = _consumer(trace, walker, layer)
        for g, found in enumerate(readers):
            if found and max(one.node for one in found) == index:
                result[g] = judge(g, [for_group(trace, groups[g], known[one.node], one) for one in found])
        waiting = {one.node for found in readers if any(o.node > index for o in found) for one in found}
        known = {node: consumer for node, consumer in known.items() if node in waiting}
        if progress is not None:
            progress(number + 1, len(layers))
    return result


def _consumer(trace: Trace, walker: Walker, layer: Linear) -> Consumer:
    partner = residual_partner(trace.graph, layer.y)
    goal = partner[0] if partner else layer.y
    walker.reach([layer.x, layer.y, goal])
    moments = accumulate(layer, walker.values(layer.x), walker.values(layer.y), 0, layer.node).fit
    power = moments.power
    if partner:
        power = accumulate(layer, walker.values(layer.x)[:1], walker.values(goal)[:1], 0, layer.node).fit.power
    walker.drop_dead()
    return consumer_of(trace, layer, moments, power)
