"""New values for the weights that stay, judged on held-out samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from onnxprune.masking.problem import Choice, Problem
from onnxprune.masking.quadratic import Quadratic, cost
from onnxprune.repair.rectified import error_behind

FloatArray = NDArray[np.float64]
RIDGES = (1e-3, 1e-2, 1e-4, 1e-1)  # what is most often right comes first
BUDGET = 3e10  # multiply-accumulates of one layer


def zeroed(problem: Problem, choice: Choice) -> FloatArray:
    """(n, k + 1) the weights as they were, with zeros."""
    return np.where(np.pad(choice.keep, ((0, 0), (0, 1)), constant_values=True), problem.weight, 0.0)


def error(problem: Problem, weight: FloatArray) -> float:
    """Held-out squared error of the weights (n, k + 1), summed over outputs."""
    assert problem.evidence is not None
    return problem.evidence.held_out.error(weight.T)


def refitted(problem: Problem, choice: Choice) -> FloatArray:
    """(n, k + 1) the best of: the weights as they were, what the method gave, and exact least squares with its mask.

    Least squares has several ridges, as many as the budget allows.
    """
    bare = zeroed(problem, choice)
    found = [bare] if choice.weight is None else [bare, choice.weight]
    count = int(BUDGET / max(cost(choice.keep), 1.0))
    for ridge in RIDGES[:count]:
        try:
            found.append(Quadratic.of(problem, ridge).fitted(choice.keep))
        except LinAlgError:  # a larger ridge may do
            continue
    errors = [judged(problem, weight) for weight in found]
    return found[int(np.nanargmin(errors))]


def judged(problem: Problem, weight: FloatArray) -> float:
    """Held-out error behind the activation, if the rows were kept, else `error`."""
    evidence = problem.evidence
    assert evidence is not None
    if evidence.judged is None or evidence.clipping is None:
        return error(problem, weight)
    return error_behind(evidence.judged, weight.T, evidence.clipping)
