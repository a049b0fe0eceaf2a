"""How much of what a Frequent-Directions sketch preserves depends on filter i.

FilterSketch keeps the second moment of the filters: it sketches W (n, features) into B (l, features) with
B'B close to W'W, by Frequent Directions (Liberty, KDD 2013): append rows to B, take the singular values, lower all
squares by the (l+1)-th, which leaves l rows, go on. The paper starts the smaller layer from B itself; we only choose
filters, so we ask how much each one carries of the directions v_k (with weights sigma_k) that B preserves:

    s_i = sum_k (W_i v_k)^2 / (sigma_k^2 + lambda),   lambda = (||W||_F^2 - ||B||_F^2) / l

the ridge leverage of filter i inside the sketch: near 1 when a direction rests on i alone, 1/m when m alike share it, 0
for a zero filter. lambda, the energy that the sketch gave up, keeps directions of little energy from counting in full.
l = min(ceil(min(n, features) / 2), 128): half of the directions there are. Filters are taken in an order that depends
on their values only. Time about n * features * l, memory 384 * features.
"""

from __future__ import annotations

import numpy as np

from onnxprune.choose.score.registry import FloatArray, Layer, Needs, criterion
from onnxprune.choose.score.rows import distinct, read, squared_norms

_MOST_DIRECTIONS = 128
_APPEND = 256  # rows at a time


@criterion("filter-sketch", needs=Needs.WEIGHTS, source="Lin et al., Filter Sketch for Network Pruning, 2020")
def filter_sketch(layer: Layer) -> FloatArray:
    """Share of a filter in the directions that a Frequent-Directions sketch of all filters preserves."""
    n = len(layer.filters)
    energy = float(squared_norms(layer).sum())
    if energy == 0.0:
        return np.zeros(n)
    first, inverse, count = distinct(layer)
    size = min(-(-min(layer.filters.shape) // 2), _MOST_DIRECTIONS)
    root = np.sqrt(count.astype(np.float64))  # m equal rows have the second moment of one row times sqrt(m)
    square, directions = np.zeros(0), np.zeros((0, layer.filters.shape[1]))
    for top in range(0, len(first), _APPEND):
        rows = first[top : top + _APPEND]
        fresh = read(layer, rows, slice(None)) * root[top : top + _APPEND, None]
        square, directions = _shrink(np.vstack([np.sqrt(square)[:, None] * directions, fresh]), size)
    weight = 1.0 / (square + max(energy - float(square.sum()), 0.0) / size)
    scores = np.empty(len(first))
    for top in range(0, len(first), _APPEND):
        along = read(layer, first[top : top + _APPEND], slice(None)) @ directions.T
        scores[top : top + _APPEND] = (along * along) @ weight
    return scores[inverse]


def _shrink(buffer: FloatArray, size: int) -> tuple[FloatArray, FloatArray]:
    """At most `size` squared singular values of the buffer, lowered by the next one, and their right vectors.

    Uses the eigenvectors of buffer @ buffer.T: fast for wide filters, and directions it cannot resolve carry < 1e-12 of
    the energy and are dropped.
    """
    values, vectors = np.linalg.eigh(buffer @ buffer.T)
    values, vectors = values[::-1], vectors[:, ::-1]
    lowered = values[:size] - (max(float(values[size]), 0.0) if len(values) > size else 0.0)
    alive = lowered > 1e-12 * max(float(values[0]), 0.0)
    directions = (vectors[:, :size][:, alive].T @ buffer) / np.sqrt(values[:size][alive])[:, None]
    return lowered[alive], directions
