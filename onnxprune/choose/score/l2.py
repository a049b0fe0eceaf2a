"""s_i = sqrt(sum_k W_ik^2), W: (n, features)."""

from __future__ import annotations

import numpy as np

from onnxprune.choose.score.registry import FloatArray, Layer, Needs, criterion
from onnxprune.choose.score.rows import squared_norms


@criterion("l2", needs=Needs.WEIGHTS, source="Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017")
def l2(layer: Layer) -> FloatArray:
    """Euclidean norm of the weights of a filter."""
    return np.sqrt(squared_norms(layer))
