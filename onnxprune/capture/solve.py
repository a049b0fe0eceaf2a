"""Ridge regression from second moments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from onnxprune.capture.moments import Moments

FloatArray = NDArray[np.float64]


def solve(moments: Moments, start: FloatArray, ridge: float, with_bias: bool) -> FloatArray | None:
    """Ridge solution (d + 1, o) pulled towards `start`; without a bias its row stays. None if G is not definite."""
    gram, cross = moments.gram, moments.cross
    inner = len(gram) - 1
    pull = ridge * float(np.trace(gram[:inner, :inner])) / max(inner, 1)
    size = inner + 1 if with_bias else inner
    left = gram[:size, :size].copy()
    right = cross[:size].copy()
    if not with_bias:
        right -= np.outer(gram[:size, inner], start[inner])
    left[np.arange(inner), np.arange(inner)] += pull
    right[:inner] += pull * start[:inner]
    if with_bias:
        left[inner, inner] += 1e-9 * max(float(left[inner, inner]), 1.0)
    try:
        found = cho_solve(cho_factor(left, lower=True), right)
    except LinAlgError:
        return None
    if not np.isfinite(found).all():
        return None
    return found if with_bias else np.concatenate([found, start[inner:]])
