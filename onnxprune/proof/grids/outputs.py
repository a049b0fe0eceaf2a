"""Outputs of two files that compute the same, but for ties that fall the other way: each may become many behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import VerificationError
from onnxprune.proof.inputs import Case

FAR = 0.1
"""Of an output's root mean square: with other kernels, or others that are fused, ties fall the other way."""


@dataclass
class Outputs:
    """`numbers` were compared, of which `differing` are not the same. `farthest`: the largest root mean square of the
    differences of an output, relative to its own."""

    numbers: int = 0
    differing: int = 0
    farthest: float = 0.0

    def add(self, one: Mapping[str, NDArray[Any]], other: Mapping[str, NDArray[Any]], case: Case, words: str) -> None:
        """Raises VerificationError, in these words, for an output that is far from its other."""
        for name, array in one.items():
            away = apart(array, other[name])
            if not away <= FAR:
                raise VerificationError(f"output {name!r} {words}, on {case.words}")
            self.numbers += array.size
            self.differing += int(np.count_nonzero((array != other[name]) & ~(_nothing(array) & _nothing(other[name]))))
            self.farthest = max(self.farthest, away)


def apart(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Root mean square of the difference over that of `one`, of finite floats; infinite for other shapes."""
    if one.shape != other.shape:
        return np.inf
    if one.dtype.kind != "f" or one.size == 0 or not np.isfinite(one).all():
        return 0.0
    away = float(np.sqrt(np.mean((one - other) ** 2, dtype=np.float64)))
    size = float(np.sqrt(np.mean(one**2, dtype=np.float64)))
    return 0.0 if away == 0 else away / size if size else np.inf


def _nothing(array: NDArray[Any]) -> NDArray[np.bool_]:
    return np.isnan(array) if array.dtype.kind == "f" else np.zeros(array.shape, bool)
