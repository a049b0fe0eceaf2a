"""Which features belong to which unit."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def features_of_units(unit: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The m units that occur, ascending (m,), and the features of each, ascending (m, b); -1 pads the smaller units."""
    features = np.flatnonzero(unit >= 0)
    features = features[np.argsort(unit[features], kind="stable")]
    units, first, count = np.unique(unit[features], return_index=True, return_counts=True)
    rows = np.full((len(units), int(count.max(initial=0))), -1, dtype=np.int64)
    owner = np.repeat(np.arange(len(units)), count)
    rows[owner, np.arange(len(features)) - np.repeat(first, count)] = features
    return units.astype(np.int64), rows
