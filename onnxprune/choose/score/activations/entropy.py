"""s_i = - sum_k p_k log p_k, p the histogram of the average of channel i's map over the samples.

The range of each channel is cut into m bins of equal width. The paper fixes m; here m is about the root of the number
of samples, at most 100, for with more bins than samples every sample is alone and all channels score the same.
"""

from __future__ import annotations

import math

import numpy as np

from onnxprune.capture.statistics import Averages
from onnxprune.choose.score.activations.registry import activation_criterion
from onnxprune.choose.score.registry import FloatArray

MOST_BINS = 100
CONSTANT = 1e-9
"""Range of the averages, relative to their size, below which they are the same number."""


@activation_criterion("entropy", statistic=Averages, source="Luo & Wu, An Entropy-based Pruning Method, 2017")
def entropy(seen: Averages) -> FloatArray:
    """Entropy (nats) of the histogram of a channel's global average over the samples."""
    table = seen.table()
    samples, channels = table.shape
    bins = min(max(round(math.sqrt(samples)), 2), MOST_BINS)
    low, high = table.min(axis=0), table.max(axis=0)
    spread = high - low
    constant = spread <= CONSTANT * np.maximum(np.abs(low), np.abs(high))
    place = np.minimum((table - low) / np.where(constant, 1.0, spread) * bins, bins - 1).astype(np.int64)
    place[:, constant] = 0
    counts = np.bincount((place + np.arange(channels) * bins).ravel(), minlength=channels * bins)
    share = counts.reshape(channels, bins) / samples
    return np.asarray(np.sum(share * np.log(1.0 / np.where(share > 0, share, 1.0)), axis=1), np.float64)
