"""From a weight and a recipe to a coder, or the reason why the weight is stored as it is."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxprune.packing.clusters import Partition, linear
from onnxprune.packing.kinds import Weight
from onnxprune.packing.recipe import EXACT, INT8, MOST_BITS, Recipe
from onnxprune.packing.tables import Codebook, Coder, Scales
from onnxprune.packing.values import MOST_SHARED, Parts, Values, describe, points

PER_ENTRY = 2
"""A codebook is not worth its place for fewer weights an entry."""
LEAST = 256
"""Weights; smaller tensors are stored as they are."""
_DROPPED = 11
"""Lowest bits of the mantissa that codebooks go without: 2^-13 of a value, and a third less to store."""


class Choice(NamedTuple):
    """`lossless`: the coder gives exactly the weights."""

    coder: Coder
    lossless: bool


def choose(weight: Weight, shape: tuple[int, ...], parts: Parts, recipe: Recipe) -> Choice | str:
    """How a weight is stored. `parts` are its float32 values in order."""
    count = math.prod(shape)
    if count < LEAST:
        return f"it has only {count} weights"
    values = describe(parts)
    few = values.distinct
    most = 1 << (recipe.bits[weight.kind] if recipe.max_error is None else MOST_BITS)
    if few is not None and PER_ENTRY * len(few) <= count and (recipe.weights != "shared" or len(few) <= most):
        return Choice(Codebook(few.view(np.float32), exact=True), True)
    if recipe.weights == EXACT:
        return "as asked"
    if not values.finite:
        return "it has values that are not finite"
    if recipe.weights == INT8:
        return _int8(weight, shape, parts, recipe.max_error)
    return _shared(weight, parts, values, recipe)


def distortion(coder: Coder, parts: Parts) -> float:
    """||w - w'|| / ||w|| of a weight and what its symbols stand for; 0 for zeros."""
    error = power = 0.0
    start = 0
    for part in parts():
        found = squares(part, coder.values(coder.symbols(part, start), start))
        error, power = error + found[0], power + found[1]
        start += part.size
    return relative(error, power)


def squares(before: NDArray[np.float32], after: NDArray[np.float32]) -> tuple[float, float]:
    """Sums of squares: of the differences, and of the weights."""
    wide = before.astype(np.float64)
    return float(((after - wide) ** 2).sum()), float((wide**2).sum())


def relative(error: float, power: float) -> float:
    """The root of a ratio of sums of squares; what is all zero has no error."""
    return math.sqrt(error / power) if power > 0 else 0.0


def _shared(weight: Weight, parts: Parts, values: Values, recipe: Recipe) -> Choice | str:
    limit = recipe.max_error
    wanted = [recipe.bits[weight.kind]] if limit is None else list(range(1, MOST_BITS + 1))
    wanted = [bits for bits in wanted if PER_ENTRY << bits <= values.count]
    if not wanted:
        return f"it has only {values.count} weights"
    found = points(parts, values)
    own = 1 if values.zeros else 0  # zeros stay zeros: they have an entry of their own
    best = None if recipe.clusters == "linear" else Partition(found, (1 << wanted[-1]) - own)
    for bits in wanted:
        entries = (1 << bits) - own
        coder = Codebook(_numbers(linear(found, entries) if best is None else best.centres(entries), own))
        if limit is None or distortion(coder, parts) <= limit:
            return Choice(coder, False)
    return f"a codebook of {wanted[-1]} bits is not within the error"


def _numbers(centres: NDArray[np.float64], zero: int) -> NDArray[np.float32]:
    """Centres as a codebook: shorter mantissas, and zero if there is one."""
    bits = centres.astype(np.float32).view(np.uint32)
    half = np.uint32(1 << (_DROPPED - 1))
    short = ((bits + half) & ~np.uint32((1 << _DROPPED) - 1)).view(np.float32)
    numbers = np.where(np.isfinite(short), short, bits.view(np.float32))
    return np.unique(np.concatenate([numbers, np.zeros(zero, np.float32)]) + np.float32(0))


def _int8(weight: Weight, shape: tuple[int, ...], parts: Parts, limit: float | None) -> Choice | str:
    axis = min(weight.axis, len(shape) - 1)
    channels, inner = shape[axis], math.prod(shape[axis + 1 :])
    if len(shape) == 1:  # the values of a sparse operator: blocks do not say their channels
        channels, inner = 1, math.prod(shape)
    if PER_ENTRY * channels > math.prod(shape):
        return f"it has only {math.prod(shape) // channels} weights a channel"
    largest = np.zeros(channels, np.float32)
    for start, part in _numbered(parts):
        np.maximum.at(largest, np.arange(start, start + part.size) // inner % channels, np.abs(part))
    coder = Scales(largest / np.float32(127), inner)
    if limit is not None and distortion(coder, parts) > limit:
        return "int8 is not within the error"
    return Choice(coder, False)


def _numbered(parts: Parts) -> Iterator[tuple[int, NDArray[np.float32]]]:
    start = 0
    for part in parts():
        yield start, part
        start += part.size


assert MOST_SHARED == 1 << MOST_BITS
