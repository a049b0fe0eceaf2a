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
from onnxprune.capture.layers import joined, matched, write
from onnxprune.capture.moments import Moments
from onnxprune.capture.rows import Unmatched
from onnxprune.capture.solve import solve
from onnxprune.capture.walker import Array, Walker
from onnxprune.choose.curves import consumers_of, for_group, readers_of
from onnxprune.choose.score.consumers import Removal, get
from onnxprune.model.folding import folded
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Group, Trace

Bools = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
RIDGE = 1e-4


def reselect(
    trace: Trace,
    groups: Sequence[Group],
    removals: Sequence[Removal],
    counts: Sequence[int],
    batches: list[dict[str, Array]],
    *,
    criterion: str = "obs",
    threads: Threads = 0,
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
        moments = _moments(trace, layer, original, current) if mine else None
        if moments is not None:
            for g in mine:
                if len(readers[g]) == 1:
                    consumers = consumers_of(trace, layer, moments, moments.power)
                    order = score(
                        for_group(trace, groups[g], consumers, layer), groups[g].size, blocks=groups[g].blocks
                    )
                    keep[groups[g].units] = True
                    gone[g] = order.order[: counts[g]]
                    keep[groups[g].units[gone[g]]] = False
            _refit(trace, layer, moments, keep, current)
        if progress is not None:
            progress(number + 1, len(layers))
    return gone


def _moments(trace: Trace, layer: Linear, original: Walker, current: Walker) -> Moments | None:
    """None where the rows of both networks do not correspond: then the units stay those that were chosen before."""
    try:
        return matched(trace.graph, layer, original, current, 0, layer.node).fit
    except Unmatched:
        return None


def _refit(trace: Trace, layer: Linear, moments: Moments, keep: Bools, current: Walker) -> None:
    """Least squares on the kept features; rows of the removed ones become zero."""
    consumers = current.graph.consumers
    labels = trace.axes(layer.x)[1 if layer.kernel else -1]
    if labels is None or layer.weight not in current.tensors or len(consumers.get(layer.weight, ())) != 1:
        return
    fits_bias = layer.bias is not None and layer.own_bias
    bias = None
    if layer.bias is not None:  # one that others read is left as it is
        bias = current.tensors[layer.bias].array() if fits_bias else folded(trace.graph, layer.bias)
    start = joined(layer, current.tensors[layer.weight].array(), bias)
    stack = start if layer.groups > 1 else start[None]
    alive = np.repeat(keep[labels], layer.taps).reshape(len(stack), -1)
    solved = [_on(moments, b, stack[b], alive[b], fits_bias, layer.groups > 1) for b in range(len(stack))]
    if all(one is not None for one in solved):
        whole = np.stack([one for one in solved if one is not None])
        write(layer, whole if layer.groups > 1 else whole[0], current, bias=fits_bias)


def _on(
    moments: Moments, block: int, start: FloatArray, alive: Bools, fits_bias: bool, stacked: bool
) -> FloatArray | None:
    """(d + 1, o): one group of the layer on the features that are `alive`; zeros in the rows of the others."""
    gram, cross = (moments.gram[block], moments.cross[block]) if stacked else (moments.gram, moments.cross)
    rows = np.append(np.flatnonzero(alive), len(alive))
    part = replace(moments, gram=gram[np.ix_(rows, rows)], cross=cross[rows])
    solution = solve(part, start[rows], RIDGE, fits_bias)
    if solution is None:
        return None
    whole = np.zeros_like(start)
    whole[rows] = solution
    return whole
