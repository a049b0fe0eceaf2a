"""What cutting units costs if all other weights stay as they are.

Without the units S the outputs lose sum_{i in S} X_i W_i, whose mean square is the sum over i, j in S of

    A_ij = tr(W_i' G_ij W_j) = sum_{f of i, g of j} G_fg (W W')_fg,

for several consumers the sum of their A, each divided by the power of its layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers.greedy import never_falling
from onnxprune.choose.score.consumers.layout import features_of_units
from onnxprune.choose.score.consumers.moments import Consumer
from onnxprune.choose.score.registry import FloatArray

_ROWS = 512  # features whose products with all others are at hand at once


def interactions(consumers: Sequence[Consumer], n: int) -> FloatArray:
    """A (n, n), symmetric. Time d^2 o per consumer."""
    total = np.zeros((n, n))
    for consumer in consumers:
        features, units, first = _sorted_by_unit(consumer)
        if not units.size:
            continue
        weight = consumer.weight[features]
        part = np.zeros((len(units), len(units)))
        owner = np.searchsorted(units, consumer.unit[features])
        for top in range(0, len(features), _ROWS):
            rows = slice(top, min(top + _ROWS, len(features)))
            product = consumer.gram[np.ix_(features[rows], features)] * (weight[rows] @ weight.T)
            np.add.at(part, owner[rows], np.add.reduceat(product, first, axis=1))
        total[np.ix_(units, units)] += (part + part.T) * (0.5 * consumer.relative)
    return total


def alignment(consumers: Sequence[Consumer], n: int) -> FloatArray:
    """(n,) tr(W_i' X_i' T) / positions / power, T = Y minus what the features of no unit contribute."""
    total = np.zeros(n)
    for consumer in consumers:
        features = np.flatnonzero(consumer.unit >= 0)
        rest = np.flatnonzero(consumer.unit < 0)
        target = consumer.cross[features] - consumer.gram[np.ix_(features, rest)] @ consumer.weight[rest]
        per_feature = np.einsum("fo,fo->f", consumer.weight[features], target) * consumer.relative
        total += np.bincount(consumer.unit[features], per_feature, minlength=n)
    return total


def own_costs(consumers: Sequence[Consumer], n: int) -> FloatArray:
    """The diagonal of A (n,), without the rest of it."""
    total = np.zeros(n)
    for consumer in consumers:
        units, rows = features_of_units(consumer.unit)
        weight = np.where(rows[:, :, None] >= 0, consumer.weight[rows], 0.0)
        gram = consumer.gram[rows[:, :, None], rows[:, None, :]]
        cost = np.einsum("mij,mij->m", gram, weight @ weight.transpose(0, 2, 1))
        total[units] += np.maximum(cost, 0.0) * consumer.relative
    return total


def plain_errors(matrix: FloatArray, order: NDArray[np.int64]) -> FloatArray:
    """(n + 1,) the sum of A over the first k units of an order, for every k."""
    ordered = matrix[np.ix_(order, order)]
    growth = ordered.diagonal() + 2.0 * np.tril(ordered, -1).sum(axis=1)
    return never_falling(np.cumsum(growth))


def _sorted_by_unit(consumer: Consumer) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Features in the order of their units (k,), the units that occur (m,), where each begins (m,)."""
    features = np.flatnonzero(consumer.unit >= 0)
    features = features[np.argsort(consumer.unit[features], kind="stable")]
    units, first = np.unique(consumer.unit[features], return_index=True)
    return features, units, first
