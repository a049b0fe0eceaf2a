"""Removal curves of the groups of a network, from calibration data.

One walk over the original network gathers, for every layer that sums over removable indices, the second moments of its
inputs and outputs; workers of a cluster may gather shards of them (`capture/elsewhere.py`). As soon as all readers of a
group are known, a judge (a consumer criterion, or a given order and what a refit leaves of its error) says in which
order the units leave and what each prefix costs; then the moments are forgotten. The readers as they would be after
some of these prefixes are kept as trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.elsewhere import captured
from onnxprune.capture.features import Linear, linear_layer
from onnxprune.capture.layers import joined
from onnxprune.capture.moments import Moments
from onnxprune.capture.sensitivity import Trial
from onnxprune.capture.shards import summed
from onnxprune.capture.solve import solve
from onnxprune.capture.walker import Array, Walker
from onnxprune.choose.score.consumers import Consumer, Removal, get, refit_errors
from onnxprune.choose.score.consumers.moments import NO_UNIT
from onnxprune.model.folding import folded
from onnxprune.results.crew import crew_for
from onnxprune.results.progress import watched
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Group, Trace

MOST_SHRINKAGE = 10.0
RIDGE = 1e-4

Judge = Callable[[int, Sequence[Consumer]], Removal]
"""(number of the group, the layers that read it) -> the order in which its units leave, and its errors."""


@dataclass(frozen=True)
class Curve:
    removal: Removal
    trials: tuple[Trial, ...] = ()


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
    shares: Sequence[float] = (),
    threads: Threads = 0,
    progress: Callable[[int, int], None] | None = None,
) -> list[Curve | None]:
    """One curve per group, with trials at `shares` of its units; None if no layer with a plain weight reads it, or if
    one that does gets no rows from the samples.
    """
    readers = readers_of(trace, groups)
    layers = sorted({layer.node: layer for found in readers for layer in found}.items())
    moments = _moments(trace, [layer for _, layer in layers], batches, threads, progress)
    known: dict[int, list[Consumer]] = {}
    result: list[Curve | None] = [None] * len(groups)
    for number, (index, layer) in enumerate(layers):
        known[index] = _consumers(trace, layer, *moments(layer))
        for g, found in enumerate(readers):
            if found and max(one.node for one in found) == index and all(known[one.node] for one in found):
                parts = [for_group(trace, groups[g], known[one.node], one) for one in found]
                removal = judge(g, [part for layer_parts in parts for part in layer_parts])
                counts = sorted({max(1, round(share * groups[g].size)) for share in shares})
                trials = tuple(_trial(trace, parts, found, removal.order[:k]) for k in counts)
                result[g] = Curve(removal, trials)
        waiting = {one.node for found in readers if any(o.node > index for o in found) for one in found}
        known = {node: consumer for node, consumer in known.items() if node in waiting}
        if progress is not None:
            progress(number + 1, len(layers))
    return result


def _moments(
    trace: Trace,
    layers: Sequence[Linear],
    batches: list[dict[str, Array]],
    threads: Threads,
    progress: Callable[[int, int], None] | None,
) -> Callable[[Linear], tuple[Moments, float]]:
    """Layer -> its moments, and what its errors are relative to; each is asked for once, in their order."""
    watch = watched(progress)
    crew = crew_for(watch.crew, trace.graph.model)
    found = None if crew is None else captured(trace.graph, layers, batches, crew, watch)
    if found is not None:
        return lambda layer: found.pop(layer.node)
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes, threads)
    return lambda layer: summed(trace.graph, walker, layer)


def readers_of(trace: Trace, groups: Sequence[Group]) -> list[list[Linear]]:
    """Per group the layers that sum over its units and can be seen as matrices."""
    owner = np.full(trace.unit_count, -1, np.int64)
    for number, group in enumerate(groups):
        owner[group.units] = number
    result: list[list[Linear]] = [[] for _ in groups]
    for closing in trace.closings:
        node = trace.graph.nodes[closing.node]
        plain = closing.kind == "sum" and closing.slot == 0 and node.scope == 0
        layer = linear_layer(trace.graph, node, shared_bias=True, implied=True) if plain else None
        if layer is not None and closing.labels.size > layer.groups:
            for number in np.unique(owner[closing.labels]).tolist():
                if number >= 0:
                    result[number].append(layer)
    return result


def _consumers(trace: Trace, layer: Linear, found: Moments, power: float) -> list[Consumer]:
    """Empty for a layer that gets no rows."""
    return consumers_of(trace, layer, found, power) if found.positions else []


def _trial(
    trace: Trace, parts: Sequence[Sequence[Consumer]], layers: Sequence[Linear], gone: NDArray[np.int64]
) -> Trial:
    """The readers of a group with the rows of some units zero and the others refitted. `parts`: see `for_group`."""
    weights: dict[str, Array] = {}
    for found, layer in zip(parts, layers, strict=True):
        fits_bias = layer.bias is not None and layer.own_bias
        solved = np.stack([_without(part, gone, fits_bias) for part in found])
        whole = solved[0] if layer.groups == 1 else solved
        old = folded(trace.graph, layer.weight)
        weights[layer.weight] = layer.unmatrix(whole[..., :-1, :], old.shape).astype(old.dtype)
        if fits_bias and layer.bias is not None:
            old = folded(trace.graph, layer.bias)
            weights[layer.bias] = whole[..., -1, :].reshape(old.shape).astype(old.dtype)
    return Trial(len(gone), weights)


def _without(part: Consumer, gone: NDArray[np.int64], fits_bias: bool) -> NDArray[np.float64]:
    """(d + 1, o): the weights with the rows of the units that are `gone` zero, and the others refitted."""
    rows = np.flatnonzero(~np.isin(part.unit, gone))
    moments = Moments(part.gram[np.ix_(rows, rows)], part.cross[rows], np.zeros(0), np.zeros(0), 1)
    found = solve(moments, part.weight[rows], RIDGE, fits_bias)
    whole = np.zeros_like(part.weight)
    whole[rows] = part.weight[rows] if found is None else found
    return whole


def consumers_of(trace: Trace, layer: Linear, moments: Moments, power: float) -> list[Consumer]:
    """Moments as a criterion sees them, a consumer for every group of the layer; no feature belongs to a unit yet
    (`for_group`). Errors are relative to the `power` of the whole layer.

    With fewer positions than features some features look redundant that are not; the second moments are shrunk
    towards a multiple of the identity, the more the fewer positions there are. Raises ModelError if they overflowed.
    """
    name = trace.graph.nodes[layer.node].label
    moments.require_finite(name)
    bias = None if layer.bias is None else folded(trace.graph, layer.bias)
    start = joined(layer, folded(trace.graph, layer.weight), bias)
    start = start if layer.groups > 1 else start[None]
    gram, cross = (part if layer.groups > 1 else part[None] for part in (moments.gram, moments.cross))
    count, inner = max(moments.positions, 1), start.shape[1] - 1
    unit = np.full(inner + 1, NO_UNIT, np.int64)
    result = []
    for g, r, w in zip(gram / count, cross / count, start, strict=True):
        pull = float(np.trace(g[:inner, :inner])) / max(inner, 1) * min((inner / count) ** 2, MOST_SHRINKAGE)
        g[np.arange(inner), np.arange(inner)] += pull
        r[:inner] += pull * w[:inner]
        result.append(Consumer(name, g, r, w, unit, max(power, 1e-30)))
    return result


def for_group(trace: Trace, group: Group, consumers: Sequence[Consumer], layer: Linear) -> list[Consumer]:
    """The consumers of a layer, one for each of its groups, with their features labelled by the units of `group`."""
    axis = 1 if layer.kernel else -1
    labels = trace.axes(layer.x)[axis]
    assert labels is not None
    position = np.full(trace.unit_count, NO_UNIT, np.int64)
    position[group.units] = np.arange(group.size)
    position[0] = NO_UNIT
    owners = np.repeat(position[labels], layer.taps).reshape(len(consumers), -1)
    return [replace(one, unit=np.append(own, NO_UNIT)) for one, own in zip(consumers, owners, strict=True)]
