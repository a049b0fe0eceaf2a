"""Ridge regression from second moments."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from onnxprune.capture.moments import Moments

FloatArray = NDArray[np.float64]
LEAST = 1e-12  # pull on what is always zero, relative to the other groups: it then keeps its weights


def solve(moments: Moments, start: FloatArray, ridge: float, with_bias: bool) -> FloatArray | None:
    """Ridge solution (..., d + 1, o) pulled towards `start`; without a bias its row stays. None if G is not definite.

    Every group of a stack is solved for itself, with a ridge relative to its own inputs.
    """
    gram, cross = moments.gram, moments.cross
    inner = gram.shape[-1] - 1
    one = np.arange(inner)
    power = gram[..., one, one].sum(axis=-1) / max(inner, 1)
    pull = np.asarray(np.maximum(ridge * power, LEAST * power.max()))[..., None]
    size = inner + 1 if with_bias else inner
    left = gram[..., :size, :size].copy()
    right = cross[..., :size, :].copy()
    if not with_bias:
        right -= gram[..., :size, inner:] * start[..., inner:, :]
    left[..., one, one] += pull
    right[..., :inner, :] += pull[..., None] * start[..., :inner, :]
    if with_bias:
        left[..., inner, inner] += 1e-9 * np.maximum(left[..., inner, inner], 1.0)
    try:
        found = cho_solve(cho_factor(left, lower=True), right) if left.ndim == 2 else np.linalg.solve(left, right)
    except LinAlgError:  # numpy's is the same class
        return None
    if not np.isfinite(found).all():
        return None
    return found if with_bias else np.concatenate([found, start[..., inner:, :]], axis=-2)
