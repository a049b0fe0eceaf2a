"""s_i ~ U(0, 1): the baseline that every table shows."""

from __future__ import annotations

import numpy as np

from onnxprune.choose.score.registry import FloatArray, Layer, Needs, criterion


@criterion(
    "random",
    needs=Needs.WEIGHTS,
    source="Mittal et al., Recovering from Random Pruning, WACV 2018; Liu et al., Rethinking, ICLR 2019",
)
def random(layer: Layer) -> FloatArray:
    """Uniform random numbers from the layer's seed: the baseline."""
    return np.random.default_rng(layer.seed).random(len(layer.filters))
