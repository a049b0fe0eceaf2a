"""s_i = sum_j ||W_i - W_j||_2, W: (n, features): a filter near the geometric median can be replaced by the others.

Distances come from ||a||^2 + ||b||^2 - 2ab in float64, tile by tile. Equal filters are counted once with their number,
so that their distance is exactly 0; between different ones rounding stays below 1e-7 of the norm.
"""

from __future__ import annotations

import numpy as np

from onnxprune.choose.score.registry import FloatArray, Layer, Needs, criterion
from onnxprune.choose.score.rows import distinct, gram_tiles, squared_norms


@criterion("geometric-median", needs=Needs.WEIGHTS, source="He et al., Filter Pruning via Geometric Median, CVPR 2019")
def geometric_median(layer: Layer) -> FloatArray:
    """Sum of the distances to the other filters: low near the geometric median."""
    first, inverse, count = distinct(layer)
    square = squared_norms(layer)[first]
    total = np.zeros(len(first))
    for i, j, gram in gram_tiles(layer, first):
        distance = np.sqrt(np.maximum(square[i, None] + square[None, j] - 2.0 * gram, 0.0))
        if i == j:
            np.fill_diagonal(distance, 0.0)
        else:
            total[j] += count[i] @ distance
        total[i] += distance @ count[j]
    return total[inverse]
