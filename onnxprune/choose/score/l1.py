"""s_i = sum_k |W_ik|, W: (n, features)."""

from __future__ import annotations

import numpy as np

from onnxprune.choose.score.registry import FloatArray, Layer, Needs, criterion
from onnxprune.choose.score.rows import blocks


@criterion("l1", needs=Needs.WEIGHTS, source="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017")
def l1(layer: Layer) -> FloatArray:
    """Sum of the absolute weights of a filter."""
    total = np.zeros(len(layer.filters))
    for rows, block in blocks(layer):
        np.abs(block, out=block)
        total[rows] += block.sum(axis=1)
    return total
