"""s_i = E |h_i|, over samples and positions."""

from __future__ import annotations

from onnxprune.capture.statistics import Sizes
from onnxprune.choose.score.activations.registry import activation_criterion
from onnxprune.choose.score.registry import FloatArray


@activation_criterion(
    "mean-activation", statistic=Sizes, source="Molchanov et al., Pruning CNNs for Efficient Inference, ICLR 2017"
)
def mean_activation(seen: Sizes) -> FloatArray:
    """Mean of the absolute activations of a channel."""
    return seen.total / max(seen.count, 1)
