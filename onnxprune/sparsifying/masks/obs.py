"""Optimal Brain Surgeon: what the output loses if weights leave and all others follow.

With the quadratic of `quadratic.py` and the inverse of the Hessian of what an output keeps, the error grows by

    w_B' (H^-1_BB)^-1 w_B      if the weights of the block B leave,

summed over the outputs of a block of rows. Two ways, by what they cost:

- in rounds: in every round the cheapest blocks of the whole layer leave, then what stays is the exact optimum, and the
  costs are computed anew. Of one block a round this is OBC; outputs that keep the same inputs share an inverse.
- one sweep over the columns, in chunks, as SparseGPT does: the weights to the left of a column are settled, those to
  the right follow by the Cholesky factor of H^-1, which serves all outputs. Then what stays is refitted if it may cost
  that much.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, lapack

from onnxprune.sparsifying.masks.layout import Layout, kept
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.quadratic import Quadratic
from onnxprune.sparsifying.masks.registry import mask_method

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
RIDGES = (1e-2, 1e-1, 1.0)  # the next where the moments are singular
ROUNDS, LEAST_ROUNDS = 6, 2
BUDGET = 3e10
"""Multiply-accumulates of all rounds of a layer, about: an inverse takes k^3 / 2, later rounds have fewer inputs."""
CHUNK = 128


@mask_method("obs", source="Hassibi & Stork, 1993; Frantar & Alistarh, OBC, NeurIPS 2022, and SparseGPT, ICML 2023")
def obs(problem: Problem, share: float) -> Choice:
    """What the output loses if a weight leaves and all others follow (OBS): the cheapest leave."""
    count = rounds(problem)
    for ridge in RIDGES:
        quadratic = Quadratic.of(problem, ridge)
        try:
            if count < LEAST_ROUNDS:
                return swept(quadratic, problem.layout, share, problem.allowed)
            return in_rounds(quadratic, problem.layout, share, problem.allowed, count)
        except LinAlgError:
            continue
    return Choice(kept(problem.layout, np.abs(problem.weight[:, :-1]), share, problem.allowed))


def rounds(problem: Problem) -> int:
    """How many the budget allows: a round inverts a matrix for every set of inputs that some outputs keep."""
    layout = problem.layout
    sets = max(len(layout.row_starts), len(np.unique(np.packbits(problem.allowed, axis=1), axis=0)))
    return int(min(ROUNDS, BUDGET / (0.25 * sets * float(layout.k) ** 3)))


def in_rounds(quadratic: Quadratic, layout: Layout, share: float, allowed: Bools, count: int) -> Choice:
    """The mask that loses `share` in `count` rounds, and its least squares."""
    keep = allowed
    start = 1.0 - allowed.mean()
    for number in range(1, count + 1):
        step = share if share <= start else start + (share - start) * number / count
        keep = kept(layout, losses(quadratic, layout, keep), step, keep)
    return Choice(keep, quadratic.fitted(keep))


def losses(quadratic: Quadratic, layout: Layout, keep: Bools) -> FloatArray:
    """(n, k) per weight of a block what the error of its outputs grows by if it leaves; inf where nothing is kept."""
    result = np.zeros(keep.shape)
    for rows, support in quadratic.supports(keep):
        inverse = quadratic.inverse(support)
        weight = quadratic.right[np.ix_(rows, support)] @ inverse
        inner = support[support < quadratic.k]
        result[np.ix_(rows, inner)] = _of_blocks(layout, inner, inverse, weight)
    return result


def _of_blocks(layout: Layout, inner: NDArray[np.int64], inverse: FloatArray, weight: FloatArray) -> FloatArray:
    """(rows, len(inner)) the same for outputs that keep `inner`; in weight and inverse the bias may be the last."""
    size = len(inner)
    single = weight[:, :size] ** 2 / np.diagonal(inverse)[:size]
    if layout.pattern.columns == 1 or not size:
        return np.asarray(single, np.float64)
    owner = np.searchsorted(layout.column_starts, inner, side="right")
    starts = np.flatnonzero(np.diff(owner, prepend=-1))
    for first, last in zip(starts, np.append(starts[1:], size), strict=True):
        part = slice(first, last)
        joint = np.linalg.solve(inverse[part, part], weight[:, part].T).T  # their sum is what counts
        single[:, part] = weight[:, part] * joint
    return single


def swept(quadratic: Quadratic, layout: Layout, share: float, allowed: Bools) -> Choice:
    """The mask of one sweep, and the weights as they followed."""
    inverse = quadratic.inverse()
    weight = quadratic.right @ inverse
    upper, info = lapack.dpotrf(inverse, lower=0)
    if info:
        raise LinAlgError("the inverse is not definite")
    upper = np.triu(upper)
    keep = allowed.copy()
    for first, last in _chunks(layout):
        part, factor = slice(first, last), upper[first:last]
        scores = weight[:, part] ** 2 / np.diagonal(upper)[part] ** 2
        keep[:, part] = kept(layout.part(first, last), scores, share, allowed[:, part])
        moved = np.zeros((len(weight), last - first))
        for j in range(last - first):
            moved[:, j] = np.where(keep[:, first + j], 0.0, weight[:, first + j]) / factor[j, first + j]
            weight[:, part] -= moved[:, j : j + 1] * factor[j, part]
        weight[:, last:] -= moved @ factor[:, last:]
    result = quadratic.start.copy()
    result[:, : weight.shape[1]] = weight
    result[:, : quadratic.k][~keep] = 0.0
    return Choice(keep, result)


def _chunks(layout: Layout) -> list[tuple[int, int]]:
    """Columns (first, last) of at least CHUNK columns, whole blocks of the pattern; of N:M its groups one by one."""
    ends = layout.column_starts + layout.column_counts
    found: list[tuple[int, int]] = []
    first = 0
    for end in ends.tolist():
        if layout.pattern.of or end - first >= CHUNK or end == layout.k:
            found.append((first, int(end)))
            first = int(end)
    return found
