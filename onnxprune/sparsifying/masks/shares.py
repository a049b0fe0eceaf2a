"""Which share of its weights every layer loses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError

from onnxprune.capture.samples import Samples
from onnxprune.choose.allocate.by_cost import Curve, by_cost
from onnxprune.model.load import Model
from onnxprune.results.providers import Threads
from onnxprune.sparsifying.masks.obs import RIDGES, swept
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.quadratic import Quadratic
from onnxprune.sparsifying.masks.refit import error, zeroed
from onnxprune.sparsifying.masks.walk import Task, Teacher, visits
from onnxprune.trace.groups import Trace

FloatArray = NDArray[np.float64]
STEPS = 200
MOST = 0.99
"""No layer loses more of its weights, unless all do."""
GRID = np.array([0.0, 0.3, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0])


@dataclass(frozen=True)
class Loss:
    """errors (len(GRID),): of a layer of `size` weights after these shares have left; `gone`: what has already."""

    errors: FloatArray
    size: int
    gone: float = 0.0


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


def by_error(curves: Mapping[str, Loss], share: float) -> dict[str, float]:
    """The shares with the least sum of errors, a Lagrangian as in `allocate.by_cost`; what has left stays away."""
    at = np.linspace(0.0, MOST, STEPS + 1)
    bent = [
        Curve(
            name,
            np.interp(at, GRID, np.maximum.accumulate(loss.errors)),
            np.arange(min(round(loss.gone / MOST * STEPS), STEPS), STEPS + 1),
        )
        for name, loss in curves.items()
    ]
    sizes = np.array([loss.size for loss in curves.values()], np.float64)

    def left(counts: Sequence[int]) -> float:
        return float(sizes @ (1.0 - at[np.asarray(counts, np.int64)]))

    counts = by_cost(bent, left, (1.0 - share) * float(sizes.sum()))
    if counts is None:
        return dict.fromkeys(curves, share)
    found = at[np.asarray(counts, np.int64)]
    found *= share * sizes.sum() / max(float(sizes @ found), 1e-30)  # the steps are coarse
    return dict(zip(curves, np.minimum(found, 1.0).tolist(), strict=True))


def losses(
    teacher: Teacher, trace: Trace, model: Model, tasks: Sequence[Task], samples: Samples, threads: Threads = 0
) -> dict[str, Loss]:
    """By weight, the held-out error of its layer in the network as it is, if some of the weights leave by OBS and the
    others follow (one sweep), whatever the method: relative to the variance of the output."""
    found = {}
    for visit in visits(teacher, trace, model, tasks, samples, threads=threads):
        errors = sum(np.array([_after(problem, share) for share in GRID]) for problem in visit.problems)
        gone = 1.0 - float(visit.task.allowed.mean())
        found[visit.task.layer.weight] = Loss(np.asarray(errors) / visit.power, visit.task.allowed.size, gone)
    return found


def _after(problem: Problem, share: float) -> float:
    for ridge in RIDGES:
        try:
            choice = swept(Quadratic.of(problem, ridge), problem.layout, share, problem.allowed)
        except LinAlgError:
            continue
        assert choice.weight is not None
        return error(problem, choice.weight)
    return error(problem, zeroed(problem, Choice(problem.allowed)))
