"""Masks by the size of the weights and of the inputs they meet."""

from __future__ import annotations

import numpy as np

from onnxprune.sparsifying.masks.layout import kept
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.registry import mask_method


@mask_method("wanda", source="Sun et al., A Simple and Effective Pruning Approach, ICLR 2024")
def wanda(problem: Problem, share: float) -> Choice:
    """Weights times the norm of their inputs, |W_ij| |x_j|: the smallest of every output leave."""
    assert problem.evidence is not None
    moments = problem.evidence.fit
    norms = np.sqrt(np.diagonal(moments.gram)[:-1] / max(moments.positions, 1))
    return Choice(kept(problem.layout, np.abs(problem.weight[:, :-1]) * norms, share, problem.allowed, by_row=True))
