"""ThiNet: the removed set S grows by the unit that keeps |sum_{i in S} X_i W_i|^2 least.

The paper samples positions; here the second moments of all positions give the same sums: with A of `plain`, the set
costs sum_{i, j in S} A_ij, and q adds A_qq + 2 sum_{i in S} A_qi, which is negative if q cancels what is missing.
`errors` is the cost of the set, never falling. Time d^2 o + n^2.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers.greedy import remove_all
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.consumers.plain import interactions
from onnxprune.choose.score.consumers.registry import consumer_criterion
from onnxprune.choose.score.registry import FloatArray


@consumer_criterion("thinet", source="Luo et al., ThiNet, ICCV 2017")
def thinet(consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None) -> Removal:
    """Greedily the set of units whose joint contribution to the consumers' outputs is least."""
    return remove_all(_Set(interactions(consumers, n)), consumers, n, blocks)


class _Set:
    def __init__(self, matrix: FloatArray) -> None:
        self.matrix = matrix
        self.growth: FloatArray = matrix.diagonal().copy()

    def costs(self) -> FloatArray:
        return self.growth

    def remove(self, unit: int) -> None:
        self.growth += 2.0 * self.matrix[unit]
