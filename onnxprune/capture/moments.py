"""Second moments of linear layers, accumulated batch by batch.

    G = X'X / P,  R = X'T / P,  t = sum T^2 / P,  over P sampled positions; X has a last column of ones.

T is what the layer should give. Products are float32 per batch, sums float64. A part of the samples is held out: the
error of a solution W on it is  t - 2 tr(W'R) + tr(W'GW)  from the held-out sums alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Array, Linear, input_rows, output_rows, positions_of

FloatArray = NDArray[np.float64]
POSITIONS_PER_FEATURE, MIN_POSITIONS, MAX_POSITIONS = 24, 30_000, 100_000


@dataclass
class Moments:
    """Sums over positions, not yet divided by their number. d features (a last one is constant), o outputs."""

    gram: FloatArray
    cross: FloatArray
    target: FloatArray
    target_sum: FloatArray
    positions: int = 0

    @staticmethod
    def zero(features: int, outputs: int) -> Moments:
        shape = (features + 1, features + 1), (features + 1, outputs)
        return Moments(np.zeros(shape[0]), np.zeros(shape[1]), np.zeros(outputs), np.zeros(outputs))

    def add(self, x: NDArray[np.float32], t: NDArray[np.float32]) -> None:
        """x (p, d) without the constant, t (p, o)."""
        x = np.concatenate([x, np.ones((len(x), 1), np.float32)], axis=1)
        self.gram += x.T @ x
        self.cross += x.T @ t
        self.target += np.einsum("po,po->o", t, t, dtype=np.float64)
        self.target_sum += t.sum(axis=0, dtype=np.float64)
        self.positions += len(x)

    def merged(self, other: Moments) -> Moments:
        return Moments(
            self.gram + other.gram,
            self.cross + other.cross,
            self.target + other.target,
            self.target_sum + other.target_sum,
            self.positions + other.positions,
        )

    @property
    def power(self) -> float:
        """Mean square of the target around its mean, summed over outputs."""
        count = max(self.positions, 1)
        return float((self.target / count - (self.target_sum / count) ** 2).sum())

    def error(self, weight: FloatArray) -> float:
        """Mean squared error of the solution `weight` (d + 1, o), summed over outputs."""
        count = max(self.positions, 1)
        fit = np.einsum("do,do->", weight, self.gram @ weight) - 2 * np.einsum("do,do->", weight, self.cross)
        return float(fit + self.target.sum()) / count


@dataclass
class Split:
    """Moments of the samples that are fitted, and of those that are held out."""

    fit: Moments
    held_out: Moments


def accumulate(layer: Linear, xs: list[Array], targets: list[Array], held_out: int, seed: int = 0) -> Split:
    """Moments over batches; the last `held_out` batches are held out. xs and targets are values of the layer."""
    features = xs[0].shape[1] * layer.taps if layer.kernel else xs[0].shape[-1]
    outputs = targets[0].shape[1] if layer.kernel else targets[0].shape[-1]
    result = Split(Moments.zero(features, outputs), Moments.zero(features, outputs))
    total = sum(positions_of(layer, t) for t in targets)
    wanted = min(max(POSITIONS_PER_FEATURE * features, MIN_POSITIONS), MAX_POSITIONS)
    share = min(1.0, wanted / total)
    rng = np.random.default_rng(seed)
    for number, (x, t) in enumerate(zip(xs, targets, strict=True)):
        count = positions_of(layer, t)
        picked = np.arange(count)
        if share < 1.0:
            picked = np.sort(rng.choice(count, max(1, round(share * count)), replace=False))
        into = result.held_out if number >= len(xs) - held_out else result.fit
        rows = np.asarray(input_rows(layer, x, picked), np.float32)
        into.add(rows, np.asarray(output_rows(layer, t)[picked], np.float32))
    return result
