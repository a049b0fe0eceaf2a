"""New values for the weights that stay, judged on held-out samples."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from onnxprune.repair.rectified import error_behind
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.quadratic import Quadratic, aimed, cost

FloatArray = NDArray[np.float64]
RIDGES = (1e-3, 1e-2, 1e-4, 1e-1)  # what is most often right comes first
TURNS = 4
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

    Least squares has several ridges, as many as the budget allows. Where an activation follows that clips, and the rows
    were kept, what it hides is then left out of account (`repair.rectified`).
    """
    found = [(zeroed(problem, choice), RIDGES[0])]
    if choice.weight is not None:
        found.append((choice.weight, RIDGES[0]))
    count = int(BUDGET / max(cost(choice.keep), 1.0))
    for ridge in RIDGES[:count]:
        try:
            found.append((Quadratic.of(problem, ridge).fitted(choice.keep), ridge))
        except LinAlgError:  # a larger ridge may do
            continue
    errors = [judged(problem, weight) for weight, _ in found]
    best, ridge = found[int(np.argmin(errors))]
    return bent(problem, choice, best, ridge) if count > len(RIDGES) + TURNS else best


def bent(problem: Problem, choice: Choice, start: FloatArray, ridge: float) -> FloatArray:
    """`start` (n, k + 1), or better: by turns the targets that the activation allows, and least squares."""
    evidence, weight = problem.evidence, start
    if evidence is None or evidence.rows is None or evidence.clipping is None:
        return start
    quadratic = Quadratic.of(problem, ridge)
    size = len(quadratic.hessian)
    try:
        for _ in range(TURNS):
            weight = aimed(quadratic, evidence, weight[:, :size]).fitted(choice.keep)
    except LinAlgError:
        return start
    return weight if judged(problem, weight) < judged(problem, start) else start


def judged(problem: Problem, weight: FloatArray) -> float:
    """Held-out error behind the activation, if the rows were kept, else `error`."""
    evidence = problem.evidence
    assert evidence is not None
    if evidence.judged is None or evidence.clipping is None:
        return error(problem, weight)
    return error_behind(evidence.judged, weight.T, evidence.clipping)
