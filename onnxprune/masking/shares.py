"""Which share of its weights every layer loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.allocate.by_cost import Curve, by_cost
from onnxprune.masking.problem import Problem

FloatArray = NDArray[np.float64]
STEPS = 200
MOST = 0.99
"""No layer loses more of its weights, unless all do."""


def by_magnitude(problems: Mapping[str, Sequence[Problem]], share: float) -> dict[str, float]:
    """By layer-adaptive magnitude: of all blocks the lowest of w^2 / (sum of w^2 of the blocks that are not smaller).

    Lee et al., Layer-Adaptive Sparsity for the Magnitude-Based Pruning, ICLR 2021: no layer is emptied before others.
    """
    scores, sizes, owners = [], [], []
    for number, parts in enumerate(problems.values()):
        squares = [p.layout.sums(p.weight[:, :-1] ** 2).ravel() for p in parts]
        counts = np.concatenate([p.layout.sizes.ravel() for p in parts])
        mean = np.concatenate(squares) / counts
        order = np.argsort(mean, kind="stable")
        left = np.cumsum((mean * counts)[order][::-1])[::-1]
        scores.append(mean[order] / np.maximum(left, 1e-300))
        sizes.append(counts[order])
        owners.append(np.full(len(order), number))
    score, size, owner = np.concatenate(scores), np.concatenate(sizes), np.concatenate(owners)
    order = np.argsort(score, kind="stable")
    count = int(np.abs(np.cumsum(size[order]) - share * size.sum()).argmin()) + 1
    gone = np.bincount(owner[order[:count]], size[order[:count]], minlength=len(problems))
    whole = np.bincount(owner, size, minlength=len(problems))
    return dict(zip(problems, (gone / whole).tolist(), strict=True))


def by_error(
    errors: Mapping[str, FloatArray], sizes: Mapping[str, int], grid: FloatArray, share: float
) -> dict[str, float]:
    """The shares with the least sum of errors. errors: per layer (len(grid),) after the shares `grid` have left."""
    at = np.linspace(0.0, MOST, STEPS + 1)
    curves = [
        Curve(name, np.interp(at, grid, np.maximum.accumulate(found)), np.arange(STEPS + 1))
        for name, found in errors.items()
    ]
    size = np.array([sizes[name] for name in errors], np.float64)
    target = (1.0 - share) * float(size.sum())

    def left(counts: Sequence[int]) -> float:
        return float(size @ (1.0 - at[np.asarray(counts, np.int64)]))

    counts = by_cost(curves, left, target)
    if counts is None:
        return dict.fromkeys(errors, share)
    found = at[np.asarray(counts, np.int64)]
    found *= share * size.sum() / max(float(size @ found), 1e-30)  # steps of the curves are coarse
    return dict(zip(errors, found.tolist(), strict=True))
