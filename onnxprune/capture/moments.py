"""Second moments of linear layers, accumulated batch by batch.

    G = X'X,  R = X'T,  t = sum T^2,  over P sampled positions; X has a last column of ones.

T is what the layer should give. Products are float32 per batch, sums float64. A part of the samples is held out: the
error of a solution W on it is  (t - 2 tr(W'R) + tr(W'GW)) / P  from the held-out sums alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.features import Array, Linear, Positions, input_rows, output_rows, positions_of
from onnxprune.errors import NotFinite

FloatArray = NDArray[np.float64]
POSITIONS_PER_FEATURE, MIN_POSITIONS, MAX_POSITIONS = 24, 30_000, 100_000
MAX_KEPT = 60_000_000  # 240 MB
OWN = 0.25  # of the variance of all samples: below, the held-out ones are too few or too alike to have one of their own
ROUNDING = 1e-6  # of a mean square: what is below may be nothing but the rounding of float32
TINY = float(np.finfo(np.float32).tiny)


@dataclass
class Moments:
    """Sums over positions, not yet divided by their number. d features (a last one is constant), o outputs.

    gram (d, d), cross (d, o), target (o,), target_sum (o,); of a layer with groups stacks of these, one per group.
    """

    gram: FloatArray
    cross: FloatArray
    target: FloatArray
    target_sum: FloatArray
    positions: int = 0

    @staticmethod
    def zero(features: int, outputs: int, groups: int = 1) -> Moments:
        """`features` and `outputs` of one group."""
        stack = () if groups == 1 else (groups,)
        gram, cross = np.zeros((*stack, features + 1, features + 1)), np.zeros((*stack, features + 1, outputs))
        return Moments(gram, cross, np.zeros((*stack, outputs)), np.zeros((*stack, outputs)))

    @np.errstate(over="ignore", invalid="ignore")
    def add(self, x: NDArray[np.float32], t: NDArray[np.float32]) -> NDArray[np.float32]:
        """x (..., p, d) without the constant, t (..., p, o). Returns x with it.

        What overflows becomes infinite without a warning: `require_finite` tells.
        """
        x = np.concatenate([x, np.ones((*x.shape[:-1], 1), np.float32)], axis=-1)
        turned = x.swapaxes(-1, -2)
        self.gram += turned @ x
        self.cross += turned @ t
        self.target += np.einsum("...po,...po->...o", t, t, dtype=np.float64)
        self.target_sum += t.sum(axis=-2, dtype=np.float64)
        self.positions += x.shape[-2]
        return x

    def require_finite(self, layer: str) -> None:
        """Raises NotFinite, naming the `layer`, if something has overflowed."""
        require_finite(layer, self.gram, self.cross, self.target)

    @property
    def power(self) -> float:
        """Mean square of the target around its mean, summed over outputs."""
        count = max(self.positions, 1)
        return float((self.target / count - (self.target_sum / count) ** 2).sum())

    @property
    def square(self) -> float:
        """Mean square of the target, summed over outputs."""
        return float(self.target.sum()) / max(self.positions, 1)

    def terms(self, weight: FloatArray) -> float:
        """Mean square of all that is summed up by the solution `weight` (..., d + 1, o)."""
        squares = np.diagonal(self.gram, axis1=-2, axis2=-1)[..., None] * weight**2
        return float(squares.sum()) / max(self.positions, 1)

    def error(self, weight: FloatArray) -> float:
        """Mean squared error of the solution `weight` (..., d + 1, o), summed over outputs."""
        return float(self.errors(weight).sum())

    def errors(self, weight: FloatArray) -> FloatArray:
        """(...) the same for every group."""
        fit = np.einsum("...do,...do->...", weight, self.gram @ weight - 2 * self.cross)
        return np.asarray(fit + self.target.sum(axis=-1), np.float64) / max(self.positions, 1)


def require_finite(layer: str, *sums: FloatArray) -> None:
    """Raises NotFinite, naming the `layer`, if one of the sums over its values is not finite."""
    if not all(np.isfinite(part).all() for part in sums):
        raise NotFinite(
            f"the inputs or outputs of {layer!r} hold NaN or infinity on the samples, or their squares do",
            hint="the network overflows on the calibration samples: check them, and how they are normalised",
        )


@dataclass
class Rows:
    """Sampled positions as they are: x (..., p, d + 1) with the constant, t (..., p, o), shift (..., p, o) or None.

    The layer's output plus `shift` is what the next activation sees.
    """

    x: NDArray[np.float32]
    t: NDArray[np.float32]
    shift: NDArray[np.float32] | None


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows one below the other."""
    shifts = [p.shift for p in parts if p.shift is not None]
    return Rows(
        np.concatenate([p.x for p in parts], axis=-2),
        np.concatenate([p.t for p in parts], axis=-2),
        np.concatenate(shifts, axis=-2) if shifts else None,
    )


@dataclass
class Split:
    """Moments of the samples that are fitted, and of those that are held out; their rows, if they were kept."""

    fit: Moments
    held_out: Moments
    fit_rows: Rows | None = None
    held_out_rows: Rows | None = None

    def scale(self, weight: FloatArray) -> float:
        """What errors of the layer are relative to, more than 0. `weight` (..., d + 1, o) is its own, as it is."""
        parts = self.fit, self.held_out
        share = [part.positions / max(sum(p.positions for p in parts), 1) for part in parts]
        square, terms = (
            sum(own * value for own, value in zip(share, values, strict=True))
            for values in ([part.square for part in parts], [part.terms(weight) for part in parts])
        )
        mean = sum(part.target_sum for part in parts) / max(sum(part.positions for part in parts), 1)
        both = square - float(np.sum(np.square(mean)))
        return meaningful(self.held_out.power, both, square, terms, self.held_out.positions)


def meaningful(held_out: float, both: float, square: float, terms: float, positions: int) -> float:
    """Of the powers of a target the first that says something: its variance on held-out samples; on all; its mean
    square if it is constant up to rounding, or if there is a single held-out position; that of what is summed up in it,
    if it is zero up to rounding. `positions`: that are held out.
    """
    rounding = ROUNDING * max(square, terms)
    varies = held_out if held_out > OWN * both else both
    found = varies if positions > 1 and varies > rounding else square if square > rounding else terms
    return max(found, TINY)


def picked_positions(layer: Linear, features: int, counts: Sequence[int], seed: int) -> Iterator[Positions]:
    """Per batch the positions that count, in order, of as many as `counts` says: no more than moments of `features`
    (of all groups) need. What is drawn for a batch depends on the counts of all.
    """
    share = min(1.0, _wanted(layer, features) / max(sum(counts), 1))
    rng = np.random.default_rng(seed)
    for count in counts:
        if count and share < 1.0:
            yield np.sort(rng.choice(count, max(1, round(share * count)), replace=False))
        else:
            yield np.arange(count)


def _wanted(layer: Linear, features: int) -> int:
    """How many positions are enough."""
    least = POSITIONS_PER_FEATURE * (features // layer.groups)
    wanted = min(max(least, MIN_POSITIONS), MAX_POSITIONS)
    if layer.groups > 1:  # many small problems: each needs few positions, all of them together much memory
        wanted = min(wanted, max(MAX_KEPT // features, least))
    return wanted


def widths(layer: Linear, x: Array, target: Array) -> tuple[int, int]:
    """(features, outputs) of all groups, of values of the layer."""
    features = x.shape[1] * layer.taps if layer.kernel else x.shape[-1]
    return features, target.shape[1] if layer.kernel else target.shape[-1]


@np.errstate(over="ignore", invalid="ignore")  # see `Moments.add`
def accumulate(
    layer: Linear,
    xs: list[Array],
    targets: list[Array],
    held_out: int,
    seed: int = 0,
    *,
    shifts: list[Array] | None = None,
    keep_rows: bool = False,
) -> Split:
    """Moments over batches; the last `held_out` batches are held out. xs, targets, shifts are values of the layer.

    With `keep_rows` the rows stay too, unless they are more than MAX_KEPT numbers.
    """
    features, outputs = widths(layer, xs[0], targets[0])
    sizes = features // layer.groups, outputs // layer.groups, layer.groups
    result = Split(Moments.zero(*sizes), Moments.zero(*sizes))
    counts = [positions_of(layer, t) for t in targets]
    keep_rows = keep_rows and min(_wanted(layer, features), sum(counts)) * features <= MAX_KEPT
    kept: tuple[list[Rows], list[Rows]] = ([], [])
    picks = picked_positions(layer, features, counts, seed)
    for number, (x, t, picked) in enumerate(zip(xs, targets, picks, strict=True)):
        if not len(picked):
            continue
        late = number >= len(xs) - held_out
        goal = layer.stacked(np.asarray(output_rows(layer, t)[picked], np.float32))
        inputs = layer.stacked(np.asarray(input_rows(layer, x, picked), np.float32))
        rows = (result.held_out if late else result.fit).add(inputs, goal)
        if keep_rows:
            shift = None
            if shifts is not None:
                shift = layer.stacked(np.asarray(output_rows(layer, shifts[number])[picked], np.float32))
            kept[late].append(Rows(rows, goal, shift))
    if kept[0] and kept[1]:
        result.fit_rows, result.held_out_rows = joined(kept[0]), joined(kept[1])
    return result
