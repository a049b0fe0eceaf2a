"""What is known of the layers that read a group, and what a consumer criterion answers.

A *consumer* is a layer that sums over the units of a group: y = W' x per position. All that the criteria need of the
data are its second moments; the samples themselves are gone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.registry import FloatArray

NO_UNIT = -1
_CONSTANT = 1e-12  # share of the mean square below which a variance is rounding


@dataclass(frozen=True)
class Consumer:
    """One layer that sums over the units of a group: y = W' x, with d features and o outputs.

    Features are channel * kernel positions, in any order; if the layer has a bias, a last feature is the constant 1
    and the last row of `weight` the bias. Everything is float64:

    - `gram` (d, d) = X'X / positions, symmetric;  `cross` (d, o) = X'Y / positions, Y the outputs to be kept;
    - `weight` (d, o): the weights as they are;
    - `unit` (d,) int64: the unit 0..n-1 of each feature, or -1: of no unit of this group (other groups, the bias);
    - `power`: mean square of the layer's output around its mean, summed over the outputs. Errors are relative to it.
    """

    name: str
    gram: FloatArray
    cross: FloatArray
    weight: FloatArray
    unit: NDArray[np.int64]
    power: float

    def __post_init__(self) -> None:
        d, outputs = self.weight.shape
        shapes = {"gram": (d, d), "cross": (d, outputs), "unit": (d,)}
        for field, expected in shapes.items():
            if getattr(self, field).shape != expected:
                raise ValueError(f"{field} of {self.name!r} is {getattr(self, field).shape}, expected {expected}")

    @property
    def bias(self) -> int | None:
        """The constant feature if there is one: the last, of no unit, with mean square 1."""
        last = len(self.unit) - 1
        return last if last >= 0 and self.unit[-1] == NO_UNIT and abs(self.gram[-1, -1] - 1.0) < 1e-9 else None

    @property
    def relative(self) -> float:
        """1 / power: what an error is multiplied with.

        A layer whose output is constant (up to rounding) is measured by its mean square instead; one that gives only
        zeros has no say.
        """
        largest = float(self.gram.trace()) * float(np.sum(np.square(self.weight)))  # no mean square exceeds it
        if self.power > _CONSTANT * largest:
            return 1.0 / self.power
        square = float(np.sum(self.weight * (self.gram @ self.weight)))
        power = self.power if self.power > _CONSTANT * square else square
        return 1.0 / power if power > 0 else 0.0


@dataclass(frozen=True)
class Removal:
    """In which order the units of a group leave, and what each prefix costs.

    - `order` (n,) int64: a permutation, first to leave first. Units that appear in no consumer come first;
    - `errors` (n + 1,) float64: error after k removals, relative to the consumers' power and summed over them;
      errors[0] = 0, never falling.
    """

    order: NDArray[np.int64]
    errors: FloatArray

    def scores(self) -> FloatArray:
        """(n,) float64, higher for what leaves later: the position in the order."""
        out = np.empty(len(self.order))
        out[self.order] = np.arange(len(self.order))
        return out
