"""Rounding by second moments: integers so that what a layer gives changes least, not its weights (OBQ, GPTQ).

For one output with weights w on inputs of second moments H = X'X, integers q that stand for v lose

    (w - v)' H (w - v) = |V' (w - v)|^2,    H = V V', V upper triangular.

Row j of V' has the features up to j only. So they are taken in order: with d = w - v of those before,

    v_j = round(w_j + sum_{l < j} V_lj d_l / V_jj)

makes row j as small as the grid allows (Babai's nearest plane). This is what GPTQ does with the Cholesky factor of
H^-1, without the inverse. Then single integers move for as long as that helps. Outputs are problems of their own, and
one whose nearest integers lose less keeps those: the result is never worse than rounding to the nearest.

Frantar & Alistarh, Optimal Brain Compression, NeurIPS 2022; Frantar et al., GPTQ, ICLR 2023; Chen et al., The Geometry
of LLM Quantization, 2025; Behdin et al., QuantEase, 2023 (the moves).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from onnxprune.capture.features import Linear
from onnxprune.model.grids import Grid

Array = NDArray[Any]
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]
CHUNK = 128
"""Features whose corrections are applied together: one matrix product instead of many."""
DAMPING = (0.01, 0.1, 1.0)
"""Added to the diagonal, relative to its mean; the next where the moments are not definite."""


@dataclass(frozen=True)
class Steps:
    """v = scale (q - zero), low <= q <= high. `scale` and `zero` broadcast to (..., features, outputs)."""

    scale: Floats
    zero: Floats
    low: int
    high: int

    def part(self, index: Any, shape: tuple[int, ...]) -> Steps:
        """Those of `weight[index]`, for a weight of `shape`."""
        scale, zero = (np.broadcast_to(one, shape)[index] for one in (self.scale, self.zero))
        return Steps(scale, zero, self.low, self.high)

    def nearest(self, x: Floats) -> Integers:
        """The nearest q, ties to even."""
        return self._clipped(np.rint(x / self.scale) + self.zero).astype(np.int32)

    def values(self, q: Array) -> Floats:
        """What q stands for."""
        return np.asarray((q.astype(np.float32) - self.zero) * self.scale, np.float32)

    def rounded(self, x: Floats) -> Floats:
        """The nearest values, without their integers."""
        return np.asarray((self._clipped(np.rint(x / self.scale) + self.zero) - self.zero) * self.scale, np.float32)

    def _clipped(self, q: Floats) -> Floats:
        return np.clip(q, np.float32(self.low), np.float32(self.high))


def steps_of(grid: Grid, linear: Linear, shape: tuple[int, ...]) -> Steps:
    """Of the weight of a layer as a matrix, from the grid of its tensor, which has `shape`."""
    plain = replace(linear, alpha=1.0)
    whole = (np.broadcast_to(grid.spread(part, shape), shape) for part in (grid.scale, grid.zero_point))
    scale, zero = (np.asarray(plain.matrix(part, np.float32)) for part in whole)
    return Steps(scale, zero, *grid.bounds)


def matrix_steps(grid: Grid, shape: tuple[int, ...]) -> Steps:
    """Of a matrix (features, outputs), or a stack of these, that the grid is of."""
    scale, zero = (grid.spread(part, shape).astype(np.float32) for part in (grid.scale, grid.zero_point))
    return Steps(scale, zero, *grid.bounds)


def rounded(
    weight: Array,
    gram: NDArray[np.float64] | None,
    steps: Steps,
    *,
    ridge: float = 0.0,
    ordered: bool = True,
    sweeps: int = 2,
) -> Integers:
    """Integers for `weight` (features, outputs), or a stack of groups (g, features, outputs).

    Args:
        weight: What the integers are to stand for: the layer's weights, or those that least squares found.
        gram: Second moments of the inputs, (features, features) or a stack, not divided; None: the nearest.
        steps: Their grids.
        ridge: Added to the diagonal of `gram`, relative to its mean; see `ridge_of`.
        ordered: Features with much power first, while there are others left that can make up for their rounding.
        sweeps: How often single integers are moved afterwards, in search of something better.

    Returns:
        int32 of the shape of `weight`, in the range of the grid. Inputs whose moments say nothing, because they are
        none or not finite, are rounded to the nearest.
    """
    target = np.ascontiguousarray(weight, np.float32)
    if gram is None or not np.isfinite(gram).all():
        return steps.nearest(target)
    if target.ndim == 2:
        return _group(target, gram, steps, ridge, ordered, sweeps)
    found = [
        _group(one, moments, steps.part(number, target.shape), ridge, ordered, sweeps)
        for number, (one, moments) in enumerate(zip(target, gram, strict=True))
    ]
    return np.stack(found)


def ridge_of(features: int, positions: int) -> float:
    """As much on the diagonal as there are features for a position: what few samples say of how inputs depend on each
    other is not what others will say. (Of as many positions as features, rounding without it loses twice as much as the
    nearest on other samples, with it three quarters.)"""
    return features / max(positions, 1)


def losses(weight: Array, values: Array, gram: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., outputs) sum of squares of what `values` give differently than `weight` on inputs of these moments."""
    moved = weight.astype(np.float64) - values
    return np.asarray(np.einsum("...fo,...fo->...o", moved, gram @ moved), np.float64)


# ---- inner -----------------------------------------------------------------------------------------------------
def _group(
    weight: Floats, gram: NDArray[np.float64], steps: Steps, ridge: float, ordered: bool, sweeps: int
) -> Integers:
    features = len(weight)
    power = np.diagonal(gram)
    mean = float(power.mean()) if features else 0.0
    if mean <= 0.0:
        return steps.nearest(weight)
    order = np.argsort(-power, kind="stable") if ordered else np.arange(features)
    target, steps = weight[order], steps.part(order, weight.shape)
    factor = _factor(gram, order, mean, ridge)
    start = steps.rounded(target)
    found = start if factor is None else _in_order(target, factor, steps)
    del factor  # of large layers it is what memory is needed for
    hessian = (gram / mean).astype(np.float32)[np.ix_(order, order)]
    hessian[np.arange(features), np.arange(features)] += np.float32(ridge)
    for _ in range(sweeps):
        found = _moved(target, found, hessian, steps)
    found = np.where(_squares(target - found, hessian) < _squares(target - start, hessian), found, start)
    result: Integers = np.empty(weight.shape, np.int32)
    result[order] = steps.nearest(found)
    return result


def _factor(gram: NDArray[np.float64], order: NDArray[np.int64], mean: float, ridge: float) -> Floats | None:
    """V, upper triangular, with V V' = H, of features in this order; the diagonal of H is raised until it is definite.
    None if it never is."""
    one = np.arange(len(order))
    for damping in DAMPING:
        turned = gram[np.ix_(order[::-1], order[::-1])]
        turned /= mean
        turned[one, one] += damping + ridge
        lower, info = lapack.dpotrf(turned.T, lower=1, clean=1, overwrite_a=1)  # it is symmetric
        if not info:
            return np.ascontiguousarray(lower[::-1, ::-1], np.float32)
    return None


def _in_order(target: Floats, factor: Floats, steps: Steps) -> Floats:
    """Values on the grid, feature by feature, each making up for the rounding of those before it."""
    features, outputs = target.shape
    moved = np.empty_like(target)
    scale, zero = (np.broadcast_to(one, target.shape) for one in (steps.scale, steps.zero))
    diagonal = np.diagonal(factor)
    for first in range(0, features, CHUNK):
        last = min(first + CHUNK, features)
        before = (
            factor[:first, first:last].T @ moved[:first] if first else np.zeros((last - first, outputs), np.float32)
        )
        inner = np.ascontiguousarray(factor[first:last, first:last].T)
        for j in range(first, last):
            k = j - first
            owed = before[k] + inner[k, :k] @ moved[first:j] if k else before[k]
            wanted = target[j] + owed / diagonal[j]
            row = Steps(scale[j], zero[j], steps.low, steps.high)
            moved[j] = target[j] - row.rounded(wanted)
    return np.asarray(target - moved, np.float32)


def _moved(target: Floats, values: Floats, hessian: Floats, steps: Steps) -> Floats:
    """`values` after every feature took the best place on its grid with all others as they are, one after another."""
    features = len(target)
    found: Floats = values.copy()
    moved = target - values
    scale, zero = (np.broadcast_to(one, target.shape) for one in (steps.scale, steps.zero))
    diagonal = np.diagonal(hessian)
    for first in range(0, features, CHUNK):
        last = min(first + CHUNK, features)
        slope = hessian[first:last] @ moved
        for j in range(first, last):
            if diagonal[j] <= 0.0:
                continue
            row = Steps(scale[j], zero[j], steps.low, steps.high)
            best = row.rounded(found[j] + slope[j - first] / diagonal[j])
            change = best - found[j]
            found[j] = best
            moved[j] -= change
            slope[j - first :] -= hessian[j, j:last, None] * change
    return found


def _squares(moved: Floats, hessian: Floats) -> NDArray[np.float64]:
    """(outputs,) the loss."""
    return np.asarray(np.einsum("fo,fo->o", moved, hessian @ moved, dtype=np.float64))
