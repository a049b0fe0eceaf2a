"""What a mask method sees of a layer, and what it gives back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.moments import Moments, Rows
from onnxprune.repair.rectified import Clipping
from onnxprune.sparsifying.masks.layout import Layout

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Evidence:
    """What the samples say of a layer: k inputs in the order of the layout, then a constant one, and what it should
    give. `fit` and `held_out` are sums as in `capture.moments`; `rows` and `judged` their positions as they are.

    biased: whether the constant input has a weight that may change. clipping: what follows the layer.
    """

    fit: Moments
    held_out: Moments
    biased: bool
    rows: Rows | None = None
    judged: Rows | None = None
    clipping: Clipping | None = None


@dataclass(frozen=True)
class Problem:
    """weight (n, k + 1), outputs by inputs, the bias last; allowed (n, k): what may stay."""

    weight: FloatArray
    layout: Layout
    allowed: Bools
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Choice:
    """keep (n, k): what stays; weight (n, k + 1): with zeros elsewhere, refitted; None: as it was."""

    keep: Bools
    weight: FloatArray | None = None
