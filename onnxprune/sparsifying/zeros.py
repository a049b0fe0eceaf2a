"""Are the zeros of a weight where a pattern allows them, and as many as a plan says?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.cut.plan import SparsePlan, SparseWeight
from onnxprune.errors import PlanError, VerificationError
from onnxprune.sparse.patterns import Pattern, parse_pattern
from onnxprune.sparsifying.layers import Layer, parts

Bools = NDArray[np.bool_]


def blocks_kept(layer: Layer, pattern: Pattern, nonzero: Bools) -> int:
    """How many blocks of a weight have something in them; of an N:M pattern, how many of its M inputs at most."""
    layout, rows = parts(layer, pattern, nonzero)
    counts = [layout.sums(part.astype(np.float64)) for part in rows]
    if pattern.of:
        return int(max(count.max(initial=0) for count in counts))
    return int(sum(np.count_nonzero(count) for count in counts))


def check_zeros(plan: SparsePlan, weights: Mapping[str, NDArray[Any]], layers: Mapping[str, Layer]) -> int:
    """How many of the weights that the plan names are not zero. Raises VerificationError if that is more than it says,
    or in more blocks; PlanError for a plan that does not fit the model.

    weights: by name, in the shape of the model; layers: those of the model that the plan was made for, by weight.
    """
    total = 0
    for one in plan.weights:
        layer = layers.get(one.weight)
        if layer is None or layer.reason is not None or int(np.prod(layer.shape)) != one.size:
            raise PlanError(f"the plan names a sparse weight {one.weight!r} of {one.size}; the model has none")
        total += _checked(one, layer, weights[one.weight] != 0)
    return total


def _checked(one: SparseWeight, layer: Layer, nonzero: Bools) -> int:
    count, blocks = int(np.count_nonzero(nonzero)), blocks_kept(layer, parse_pattern(one.pattern), nonzero)
    if count > one.kept:
        raise VerificationError(f"{count} of the weights in {one.weight!r} are not zero; its plan keeps {one.kept}")
    if blocks > one.blocks:
        raise VerificationError(
            f"the zeros of weight {one.weight!r} are not those of a mask in {one.pattern} that keeps {one.blocks}: "
            f"found {blocks}"
        )
    return count
