"""Net-Trim: the sparsest layer, in the sense of |W|_1, that gives behind its activation what it gave.

    min  lambda |W|_1 + 1/2 |X W - S(T)|^2 / positions,     S(t) = {y: phi(y) = phi(t)}

Aghasi et al. bound |relu(W'X) - Y| instead, and ask W'X <= 0 where Y = 0; this is the penalty form of the same convex
programme: behind phi the distance to the interval S(t) is what counts (`repair.rectified`). By turns: the points of
S(T) nearest to the prediction become the targets, then ADMM (Boyd et al., 2011) on the split W = Z,

    W = (R + rho (Z - U)) (H + rho I)^-1,   Z = shrink(W + U, lambda / rho),   U = U + W - Z.

lambda is found on the way: every turn takes the one at which the share asked is zero, so that where the iteration
settles, it has both. Blocks shrink by their root mean square (group lasso). What stays is then fitted without |W|_1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from onnxprune.sparsifying.masks.layout import Layout, kept
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.quadratic import Quadratic, aimed
from onnxprune.sparsifying.masks.registry import mask_method

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
RIDGE = 1e-2
RHO = 0.1
"""Of the mean diagonal of H."""
TURNS, ITERATIONS = 4, 12


@mask_method("net-trim", source="Aghasi et al., Net-Trim, NIPS 2017", needs_rows=True)
def net_trim(problem: Problem, share: float) -> Choice:
    """The least sum of absolute weights that gives the same behind the activation (convex, by ADMM)."""
    keep, _, quadratic = relaxed(problem, share)
    try:
        return Choice(keep, quadratic.fitted(keep))
    except LinAlgError:
        return Choice(keep)


def relaxed(
    problem: Problem, share: float, turns: int = TURNS, iterations: int = ITERATIONS
) -> tuple[Bools, FloatArray, Quadratic]:
    """What stays, (n, d) the solution with |W|_1 in it, and the quadratic of the targets that it ended with."""
    assert problem.evidence is not None
    plain = quadratic = Quadratic.of(problem, RIDGE)
    size, k = len(plain.hessian), plain.k
    rho = RHO * float(np.trace(plain.hessian[:k, :k])) / k
    left = plain.hessian.copy()
    left[np.arange(k), np.arange(k)] += rho
    factor = cho_factor(left, lower=True)
    keep, sparse = problem.allowed, problem.weight[:, :size].copy()
    dual = np.zeros(sparse.shape)
    for turn in range(turns):
        quadratic = aimed(plain, problem.evidence, sparse) if turn else plain
        for _ in range(iterations):
            pull = np.pad(rho * (sparse - dual)[:, :k], ((0, 0), (0, size - k)))
            weight = cho_solve(factor, (quadratic.right + pull).T).T
            keep, sparse = shrunk(problem.layout, weight + dual, share, problem.allowed)
            dual[:, :k] += (weight - sparse)[:, :k]
    return keep, sparse, quadratic


def shrunk(layout: Layout, values: FloatArray, share: float, allowed: Bools) -> tuple[Bools, FloatArray]:
    """Which weights stay, and `values` (n, d) shrunk by as much as makes the others zero; a bias is not shrunk."""
    inner = values[:, : layout.k]
    squares = np.where(allowed, inner**2, 0.0)
    keep = kept(layout, squares, share, allowed)
    if layout.pattern.of:
        size = np.abs(inner)
        groups = np.repeat(np.arange(len(layout.column_starts)), layout.column_counts)
        largest = np.maximum.reduceat(np.where(keep, 0.0, np.where(allowed, size, 0.0)), layout.column_starts, axis=1)
        least = largest[:, groups]
    else:
        blocks = np.sqrt(layout.sums(squares) / layout.sizes)
        size = np.repeat(np.repeat(blocks, layout.row_counts, axis=0), layout.column_counts, axis=1)
        least = np.full(inner.shape, float(np.max(size, where=allowed & ~keep, initial=0.0)))
    result = values.copy()
    result[:, : layout.k] = np.where(keep, inner * np.maximum(1.0 - least / np.maximum(size, 1e-300), 0.0), 0.0)
    return keep, result
