"""Masks by the size of the weights alone."""

from __future__ import annotations

import numpy as np

from onnxprune.sparsifying.masks.layout import kept
from onnxprune.sparsifying.masks.problem import Choice, Problem
from onnxprune.sparsifying.masks.registry import mask_method


@mask_method("magnitude", source="Han et al., NeurIPS 2015; Zhu & Gupta, 2017", needs_data=False)
def magnitude(problem: Problem, share: float) -> Choice:
    """The smallest absolute weights leave."""
    return Choice(kept(problem.layout, np.abs(problem.weight[:, :-1]), share, problem.allowed))
