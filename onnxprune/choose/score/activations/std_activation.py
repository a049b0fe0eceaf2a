"""s_i = std h_i, over samples and positions."""

from __future__ import annotations

import numpy as np

from onnxprune.capture.statistics import Deviations
from onnxprune.choose.score.activations.registry import activation_criterion
from onnxprune.choose.score.registry import FloatArray


@activation_criterion(
    "std-activation", statistic=Deviations, source="Molchanov et al., Pruning CNNs for Efficient Inference, ICLR 2017"
)
def std_activation(seen: Deviations) -> FloatArray:
    """Standard deviation of the activations of a channel: a constant one can move into biases."""
    return np.asarray(np.sqrt(seen.variance()), np.float64)
