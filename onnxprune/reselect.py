"""Which units leave, decided again on the way: layer by layer, on the inputs as they will be.

Removal curves are measured on the original network; the counts that an allocator takes from them hold, but which units
leave is better decided with the inputs of the network that has lost units and was refitted so far, against what the
original gives (the asymmetric problem that repair will solve). The walk is at full width: rows of removed units are
zero, the others are refitted. Only groups that a single layer reads are decided again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Linear
from onnxprune.capture.layers import matched, with_bias, write
from onnxprune.capture.moments import Moments
from onnxprune.capture.solve import solve
from onnxprune.capture.walker import Array, Walker
from onnxprune.curves import consumer_of, for_group, readers_of
from onnxprune.model.folding import folded
from onnxprune.score.consumers import Removal, get
from onnxprune.trace.groups import Group, Trace

Bools = NDArray[np.bool_]
RIDGE = 1e-4


def reselect(
    trace: Trace,
    groups: Sequence[Group],
    removals: Sequence[Removal],
    counts: Sequence[int],
    batches: list[dict[str, Array]],
    *,
    criterion: str = "obs",
    threads: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[NDArray[np.int64]]:
    """Per group the units (positions in the group) that leave, `counts` of them."""
    score = get(criterion)
    readers = readers_of(trace, groups)
    gone = [removal.order[:k] for removal, k in zip(removals, counts, strict=True)]
    keep = np.ones(trace.unit_count, bool)
    for group, units in zip(groups, gone, strict=True):
        keep[group.units[units]] = False
    original = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    current = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    layers = sorted({layer.node: layer for found in readers for layer in found}.items())
    for number, (index, layer) in enumerate(layers):
        mine = [g for g, found in enumerate(readers) if any(one.node == index for one in found) and counts[g]]
        if mine:
            moments = matched(trace.graph, layer, original, current, 0, index).fit
            for g in mine:
                if len(readers[g]) == 1:
                    consumer = consumer_of(trace, layer, moments, moments.power)
                    order = score(
                        [for_group(trace, groups[g], consumer, layer)], groups[g].size, blocks=groups[g].blocks
                    )
                    keep[groups[g].units] = True
                    gone[g] = order.order[: counts[g]]
                    keep[groups[g].units[gone[g]]] = False
            _refit(trace, layer, moments, keep, current)
        if progress is not None:
            progress(number + 1, len(layers))
    return gone


def _refit(trace: Trace, layer: Linear, moments: Moments, keep: Bools, current: Walker) -> None:
    """Least squares on the kept features; rows of the removed ones become zero."""
    consumers = current.graph.consumers
    labels = trace.axes(layer.x)[1 if layer.kernel else -1]
    if labels is None or layer.weight not in current.tensors or len(consumers.get(layer.weight, ())) != 1:
        return
    alive = np.repeat(keep[labels], layer.taps)
    rows = np.append(np.flatnonzero(alive), len(alive))
    fits_bias = layer.bias is not None and layer.own_bias
    part = replace(moments, gram=moments.gram[np.ix_(rows, rows)], cross=moments.cross[rows])
    start = with_bias(layer if fits_bias else replace(layer, bias=None), current.tensors)
    if layer.bias is not None and not fits_bias:
        start[-1] = folded(trace.graph, layer.bias).ravel()
    solution = solve(part, start[rows], RIDGE, fits_bias)
    if solution is not None:
        whole = np.zeros((len(alive) + 1, solution.shape[1]))
        whole[rows] = solution
        write(layer, whole, current, bias=fits_bias)
