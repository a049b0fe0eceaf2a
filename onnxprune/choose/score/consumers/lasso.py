"""Channel pruning by LASSO: one scalar per unit, and a price on them.

    min over beta of  1/2 |T - sum_i beta_i X_i W_i|^2 / positions + lambda |beta|_1

with T the outputs to be kept minus what no unit of the group contributes. In second moments that is
1/2 beta' A beta - b' beta + lambda |beta|_1 with A_ij = tr(W_i' G_ij W_j) and b_i = tr(W_i' (X'T)_i), consumers added
up relative to their power. As lambda rises the beta vanish; a unit leaves at the largest lambda at which its beta is
not zero, equal ones by their beta at lambda = 0. Then, as in the paper, least squares: `errors` are those of the
refitted weights (`obs.refit_errors`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers.greedy import remove_by_score
from onnxprune.choose.score.consumers.homotopy import lasso_path
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.consumers.obs import refit_errors
from onnxprune.choose.score.consumers.plain import alignment, interactions
from onnxprune.choose.score.consumers.registry import consumer_criterion
from onnxprune.choose.score.registry import FloatArray


@consumer_criterion("lasso", source="He, Zhang, Sun, Channel Pruning, ICCV 2017")
def lasso(consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None) -> Removal:
    """The price at which a unit's scalar vanishes from the LASSO fit of the consumers' outputs."""
    path = lasso_path(interactions(consumers, n), alignment(consumers, n))
    order = remove_by_score(_ranks(path.vanishing, np.abs(path.last)), consumers, blocks)
    return Removal(order, refit_errors(consumers, order))


def _ranks(price: FloatArray, size: FloatArray) -> FloatArray:
    """(n,) 0, 1, 2, ... by price, then size; prices and sizes that only differ by rounding are equal."""
    price_class = _classes(price)
    size_class = _classes(size)
    keys = np.stack([price_class, size_class])
    return np.unique(keys, axis=1, return_inverse=True)[1].astype(np.float64).ravel()


def _classes(values: FloatArray) -> NDArray[np.int64]:
    order = np.argsort(values, kind="stable")
    ascending = values[order]
    apart = np.diff(ascending) > 1e-9 * np.abs(ascending[1:]) + 1e-300
    out = np.empty(len(values), dtype=np.int64)
    out[order] = np.concatenate([[0], np.cumsum(apart)]) if len(values) else 0
    return out
