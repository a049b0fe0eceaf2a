"""The error of a layer as a quadratic function of its weights, and its least value with some of them zero.

    E(w) = (w - w0)' G (w - w0) + ... = w' H w - 2 w' r + const   for every output,   H = G + lambda m D,

G the second moments of the inputs over positions, m their mean diagonal, D = 1 but 0 for the bias; r = X't + lambda m
w0 pulls towards the weights w0 that the layer has. With the inputs S that an output keeps, w_S = H_SS^-1 r_S, all else
is 0. Outputs that keep the same inputs share a factorisation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve, lapack

from onnxprune.repair.rectified import wanted
from onnxprune.sparsifying.masks.problem import Evidence, Problem

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]
LEAST = 1e-9  # added to the diagonal, relative to its mean, where an input is always zero


@dataclass(frozen=True)
class Quadratic:
    """hessian (d, d), right (n, d); d = k, or k + 1 with a bias that is fitted, the last. start (n, k + 1)."""

    hessian: FloatArray
    right: FloatArray
    start: FloatArray

    @classmethod
    def of(cls, problem: Problem, ridge: float) -> Quadratic:
        assert problem.evidence is not None
        moments, start = problem.evidence.fit, problem.weight
        count, k = max(moments.positions, 1), start.shape[1] - 1
        gram, cross = moments.gram / count, moments.cross.T / count
        power = max(float(np.trace(gram[:k, :k])) / max(k, 1), 1e-30)
        size = k + 1 if problem.evidence.biased else k
        right = cross[:, :size].copy()
        if not problem.evidence.biased:
            right -= start[:, k:] * gram[k:, :size]
        hessian = gram[:size, :size].copy()
        one = np.arange(k)
        hessian[one, one] += (ridge + LEAST) * power
        right[:, :k] += (ridge + LEAST) * power * start[:, :k]
        if size > k:
            hessian[k, k] += LEAST
        return cls(hessian, right, start)

    @property
    def k(self) -> int:
        return int(self.start.shape[1]) - 1

    def inverse(self, support: NDArray[np.int64] | slice = slice(None)) -> FloatArray:
        """(H_SS)^-1, by Cholesky. Raises LinAlgError if the moments are not definite."""
        part = self.hessian[support][:, support]
        factor, info = lapack.dpotrf(part, lower=1)
        found, second = (factor, 1) if info else lapack.dpotri(factor, lower=1)
        if info or second:
            raise LinAlgError("the second moments are singular")
        lower = np.tril(found)
        return np.asarray(lower + np.tril(lower, -1).T, np.float64)

    def fitted(self, keep: Bools) -> FloatArray:
        """(n, k + 1) the least error of every output with zeros outside of `keep` (n, k)."""
        result = np.where(self.full(keep), self.start, 0.0)
        for rows, support in self.supports(keep):
            factor = cho_factor(self.hessian[np.ix_(support, support)], lower=True, check_finite=False)
            result[np.ix_(rows, support)] = cho_solve(factor, self.right[np.ix_(rows, support)].T).T
        return result

    def full(self, keep: Bools) -> Bools:
        """(n, k + 1): the bias stays."""
        return np.concatenate([keep, np.ones((len(keep), 1), bool)], axis=1)

    def supports(self, keep: Bools) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """(outputs, their inputs) for outputs that keep the same ones."""
        packed = np.packbits(keep, axis=1)
        _, owner = np.unique(packed, axis=0, return_inverse=True)
        owner = owner.ravel()
        by_owner = np.argsort(owner, kind="stable")
        for rows in np.split(by_owner, np.flatnonzero(np.diff(owner[by_owner])) + 1):
            support = np.flatnonzero(keep[rows[0]])
            if len(self.hessian) > self.k:
                support = np.append(support, self.k)
            if len(support):
                yield rows, support


def cost(keep: Bools) -> float:
    """About how many multiply-accumulates `Quadratic.fitted` takes."""
    distinct = np.unique(np.packbits(keep, axis=1), axis=0, return_index=True)[1]
    sizes = keep[distinct].sum(axis=1).astype(np.float64) + 1
    return float((sizes**3 / 6).sum() + (keep.sum(axis=1).astype(np.float64) ** 2).sum())


def aimed(quadratic: Quadratic, evidence: Evidence, weight: FloatArray) -> Quadratic:
    """A quadratic of the targets as they are, for the admissible ones that are nearest to what `weight` predicts."""
    if evidence.rows is None or evidence.clipping is None:
        return quadratic
    whole = quadratic.start.copy()
    whole[:, : weight.shape[1]] = weight
    target = wanted(evidence.rows, whole.T, evidence.clipping) - evidence.rows.t
    moved = (evidence.rows.x.T @ target).astype(np.float64).T / max(evidence.fit.positions, 1)
    return replace(quadratic, right=quadratic.right + moved[:, : weight.shape[1]])
