"""Second moments of layers as sums over shards of the samples, which may be computed by different machines.

Floating sums depend on their order, so this is fixed: where shards begin follows from the number of batches alone, each
is summed up by itself from zero, and their sums are added in the order of the shards. Which positions of a batch count
is drawn as if all batches were at hand; for that a shard needs to know how many positions the others have: as many a
sample as its own first batch. `whole` tells whether that was so.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise

import numpy as np

from onnxprune.capture.features import Array, Linear, Positions, input_rows, output_rows, positions_of, residual_partner
from onnxprune.capture.layers import products
from onnxprune.capture.moments import Moments, accumulate, picked_positions, widths
from onnxprune.capture.walker import Walker
from onnxprune.model.folding import folded
from onnxprune.model.graph import Graph

MOST = 8
"""Shards: as many machines can help, and none of them sums up less than an eighth."""


@dataclass(frozen=True)
class Shard:
    """Sums of one layer over some batches: `counts` positions in each of them. `power`: of what the layer's errors are
    relative to, from the first batch of all; None where that is another shard's, or the same as that of the moments.
    """

    moments: Moments
    counts: list[int]
    power: float | None = None


def borders(batches: int) -> list[tuple[int, int]]:
    """(first batch, the one behind the last) of every shard."""
    count = min(batches, MOST)
    edges = [batches * k // count for k in range(count + 1)] if count else []
    return list(pairwise(edges))


def summed(graph: Graph, walker: Walker, layer: Linear) -> tuple[Moments, float]:
    """The moments of a layer over all batches of the walker, and what its errors are relative to."""
    xs, targets, goal = _values(graph, walker, layer)
    counts = [positions_of(layer, t) for t in targets]
    picks = picked_positions(layer, widths(layer, xs[0], targets[0])[0], counts, layer.node)
    total: Moments | None = None
    for start, stop in borders(len(xs)):
        part = _sums(layer, xs[start:stop], targets[start:stop], islice(picks, stop - start))
        total = part if total is None else plus(total, part)
    assert total is not None
    power = _power(layer, xs, goal) if goal is not None else total.power
    walker.drop_dead()
    return total, power


def part_of(graph: Graph, walker: Walker, layers: Sequence[Linear], rows: Sequence[int], start: int) -> list[Shard]:
    """A shard of every layer: `walker` has its batches only, which are those from `start` on of all, with so many
    `rows` each. Raises ValueError where positions are no multiple of the rows.
    """
    found = []
    for layer in layers:
        xs, targets, goal = _values(graph, walker, layer)
        counts = [positions_of(layer, t) for t in targets]
        expected = _expected(counts[0], rows, start)
        picks = picked_positions(layer, widths(layer, xs[0], targets[0])[0], expected, layer.node)
        moments = _sums(layer, xs, targets, islice(picks, start, start + len(xs)), counts)
        power = _power(layer, xs, goal) if goal is not None and start == 0 else None
        found.append(Shard(moments, counts, power))
        walker.drop_dead()
    return found


def whole(counts: Sequence[int], rows: Sequence[int]) -> bool:
    """Whether the shards of a layer found as many positions in their batches, `counts`, as each took for granted."""
    return all(count * rows[0] == counts[0] * n for count, n in zip(counts, rows, strict=True))


@np.errstate(over="ignore", invalid="ignore")  # see `Moments.add`
def plus(total: Moments, part: Moments) -> Moments:
    """`total` with the next of the sums, in place."""
    total.gram += part.gram
    total.cross += part.cross
    total.target += part.target
    total.target_sum += part.target_sum
    total.positions += part.positions
    return total


# ---- inner -----------------------------------------------------------------------------------------------------
def _values(graph: Graph, walker: Walker, layer: Linear) -> tuple[list[Array], list[Array], list[Array] | None]:
    """Inputs of the layer, what it gives, and the sum that this is added to, if it is."""
    if layer.implied:
        walker.reach([layer.x])
        xs = walker.values(layer.x)
        return xs, products(layer, xs, folded(graph, layer.weight)), None
    partner = residual_partner(graph, layer.y)
    walker.reach([layer.x, layer.y, partner[0] if partner else layer.y])
    return walker.values(layer.x), walker.values(layer.y), walker.values(partner[0]) if partner else None


def _expected(first: int, rows: Sequence[int], start: int) -> list[int]:
    """Positions of every batch, by those of the one at `start`."""
    if any(first * n % rows[start] for n in rows):
        raise ValueError("positions are no multiple of the samples")
    return [first * n // rows[start] for n in rows]


@np.errstate(over="ignore", invalid="ignore")  # see `Moments.add`
def _sums(
    layer: Linear,
    xs: Sequence[Array],
    targets: Sequence[Array],
    picks: Iterator[Positions],
    counts: Sequence[int] | None = None,
) -> Moments:
    """Of these batches alone."""
    features, outputs = widths(layer, xs[0], targets[0])
    total = Moments.zero(features // layer.groups, outputs // layer.groups, layer.groups)
    for number, (x, t, picked) in enumerate(zip(xs, targets, picks, strict=True)):
        if counts is not None and len(picked) and picked[-1] >= counts[number]:
            raise ValueError("a batch has other positions than the samples say")
        if len(picked):
            goal = layer.stacked(np.asarray(output_rows(layer, t)[picked], np.float32))
            total.add(layer.stacked(np.asarray(input_rows(layer, x, picked), np.float32)), goal)
    return total


def _power(layer: Linear, xs: list[Array], goal: list[Array]) -> float:
    """Of the sum, by its first batch."""
    return accumulate(layer, xs[:1], goal[:1], 0, layer.node).fit.power
