"""Zeros that somebody made: a weight of many zeros keeps them when it becomes integers, which have a zero as well."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.load import Model

MANY = 1 / 3
"""The share from which zeros were made, and are no numbers that happen to be small."""
STAY = "its zeros stay, so it is the nearest on its grid"


def made_sparse(weight: NDArray[Any]) -> bool:
    """Whether a weight has so many zeros that they are to stay."""
    return weight.size > 0 and float(np.count_nonzero(weight)) <= (1 - MANY) * weight.size


def masks_of(model: Model, names: Collection[str]) -> dict[str, NDArray[np.bool_]]:
    """Of the initializers `names` of a model, for those that were made sparse, which of their numbers are not zero."""
    arrays = {name: model.tensors[name].array() for name in names if name in model.tensors}
    return {name: array != 0 for name, array in arrays.items() if made_sparse(array)}
