"""From scores of rows to scores of units, and from scores of one group to scores that compare between groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.registry import FloatArray
from onnxprune.errors import UsageError

Combine: TypeAlias = Literal["mean", "sum", "max"]
Normalise: TypeAlias = Literal["mean", "max", "sum", "none", "lamp"]


def aggregate(
    n_units: int, members: Sequence[tuple[NDArray[np.int64], FloatArray]], how: Combine = "mean"
) -> FloatArray:
    """One score per unit of a group: (n_units,).

    A member is (unit of every row, score of every row); -1 is a row of no unit of this group. Rows of one member that
    belong to the same unit are averaged; then the members that hold the unit are combined by `how`. A unit that no
    member holds gets the mean of the others: nothing speaks for or against it.
    """
    _check(how, get_args(Combine), "way to combine scores")
    total = np.zeros(n_units)
    most = np.full(n_units, -np.inf)
    holders = np.zeros(n_units, dtype=np.int64)
    for unit, scores in members:
        if unit.shape != scores.shape or unit.ndim != 1:
            raise ValueError(f"{unit.shape} unit indices for {scores.shape} scores")
        mine = unit >= 0
        count = np.bincount(unit[mine], minlength=n_units)
        if len(count) > n_units:
            raise ValueError(f"unit index {len(count) - 1} in a group of {n_units} units")
        held = count > 0
        mean = np.bincount(unit[mine], weights=scores[mine], minlength=n_units)[held] / count[held]
        total[held] += mean
        most[held] = np.maximum(most[held], mean)
        holders += held
    known = holders > 0
    out = most if how == "max" else total / np.maximum(holders, 1) if how == "mean" else total
    out[~known] = out[known].mean() if known.any() else 0.0
    return out


def normalise(scores: FloatArray, how: Normalise = "mean") -> FloatArray:
    """Scores of one group that compare between groups; the order within the group stays.

    `mean`, `max`, `sum`: divided by that of |s|. `lamp`: s_i^2 / sum of s_j^2 over all s_j >= s_i, so that equal scores
    stay equal (negative scores count as 0); Lee et al., Layer-adaptive Sparsity for the Magnitude-based Pruning,
    ICLR 2021. `none`: as they are. Scores that are all zero stay zero.
    """
    _check(how, get_args(Normalise), "normalisation")
    largest = float(np.abs(scores).max(initial=0.0))
    if how == "none" or largest == 0.0:
        return scores.astype(np.float64)
    relative = scores / largest
    if how == "max":
        return relative
    if how == "lamp":
        return _lamp(np.maximum(relative, 0.0))
    total = float(np.abs(relative).sum())
    return relative / (total / len(relative) if how == "mean" else total)


def _lamp(magnitude: FloatArray) -> FloatArray:
    ascending = np.sort(magnitude)
    not_smaller = np.cumsum((ascending * ascending)[::-1])[::-1]
    rest = not_smaller[np.searchsorted(ascending, magnitude, side="left")]
    return np.divide(magnitude * magnitude, rest, out=np.zeros(len(rest)), where=rest > 0.0)


def _check(name: str, known: tuple[str, ...], what: str) -> None:
    if name not in known:
        raise UsageError(f"unknown {what} {name!r}", hint=f"known: {', '.join(known)}")
