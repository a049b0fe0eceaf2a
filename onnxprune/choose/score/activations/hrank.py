"""s_i = E rank(h_i), h_i the map of channel i as a matrix (height, width), over the first samples.

The paper finds that the average rank hardly depends on which samples are taken. Maps with more axes become matrices
whose width is the last axis. What has no two axes of positions (sequences, plain vectors) is a map of one row: its rank
is 1 unless it is zero, so that the score is the share of the samples in which the channel says anything.
"""

from __future__ import annotations

from onnxprune.capture.statistics import Ranks
from onnxprune.choose.score.activations.registry import activation_criterion
from onnxprune.choose.score.registry import FloatArray

SAMPLES = 64


@activation_criterion("hrank", statistic=Ranks, source="Lin et al., HRank, CVPR 2020", samples=SAMPLES)
def hrank(seen: Ranks) -> FloatArray:
    """Mean rank of the feature maps of a channel."""
    return seen.total / max(seen.count, 1)
