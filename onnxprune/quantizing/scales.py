"""Scales of weights: per output, or per block of inputs of an output, the clipping that loses least.

The largest weight decides a scale that loses nothing at the ends and much in between. Of some smaller ranges the one is
taken that loses least, every weight counting as its input has power:  sum_f p_f (w_f - v_f)^2. Then the scale is the
least-squares one of the integers it gives, if that loses less.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.grids import INTEGERS, Grid

Array = NDArray[Any]
Floats = NDArray[np.float32]
RATIOS = tuple(float(ratio) for ratio in np.linspace(1.0, 0.7, 16))
SIGNED = frozenset({TensorProto.INT4, TensorProto.INT8, TensorProto.INT16})
TINY = float(np.finfo(np.float32).tiny) * 2**20
"""The least scale: of blocks of zeros; large enough that what is divided by it stays finite."""
COLUMNS = 256
"""Outputs searched at once, so that what is compared stays in the caches."""


def blocks_of(features: int, block: int) -> int:
    """How many blocks a column of `features` has; 1 if `block` is 0."""
    return -(-features // block) if block else 1


def searched(
    weight: Array,
    dtype: int,
    *,
    power: Array | None = None,
    block: int = 0,
    bits: int | None = None,
    ratios: tuple[float, ...] = RATIOS,
) -> Grid:
    """The grid of a matrix (features, outputs), one scale per output, or per output and `block` of features.

    Args:
        weight: (features, outputs).
        dtype: ONNX integer type: signed ones are symmetric, with zero points of zero and without the least integer for
            8 bits; unsigned ones have zero points.
        power: (features,) how much an error of a weight counts; None: all alike.
        block: Features that share a scale; 0: all of an output.
        bits: Of the type that are used; None: all.
        ratios: Parts of the range that are tried; (1.0,) is the plain one.

    Returns:
        Its `scale` and `zero_point` are (outputs,) along axis 1, or (blocks, outputs) along axis 0.
    """
    features, outputs = weight.shape
    size = block or max(features, 1)
    count = blocks_of(features, block)
    scale, zero = np.empty((count, outputs), np.float32), np.zeros((count, outputs), np.float32)
    counts = np.ones(features, np.float32) if power is None else _relative(power)
    pad = count * size - features
    heavy = np.pad(counts, (0, pad)).reshape(count, size, 1)
    for first in range(0, outputs, COLUMNS):
        part = slice(first, first + COLUMNS)
        columns = np.pad(weight[:, part].astype(np.float32), ((0, pad), (0, 0))).reshape(count, size, -1)
        scale[:, part], zero[:, part] = _best(columns, heavy, bounds_of(dtype, bits), ratios)
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    if block:
        return Grid(dtype, scale, zero.astype(kind), 0, block)
    return Grid(dtype, scale[0], zero[0].astype(kind), 1)


def bounds_of(dtype: int, bits: int | None = None) -> tuple[int, int]:
    """The least and the largest integer that weights of a type use."""
    count = bits or INTEGERS[dtype]
    if dtype in SIGNED:
        return -(2 ** (count - 1)) + (count > 4), 2 ** (count - 1) - 1
    return 0, 2**count - 1


def refitted(weight: Array, integers: Array, grid: Grid, gram: NDArray[np.float64]) -> Grid:
    """`grid`, one scale per output, with the scales that lose least for these integers on inputs of these moments.

    weight, integers (features, outputs); gram (features, features).
    """
    steps = integers.astype(np.float64) - grid.spread(grid.zero_point, integers.shape)
    pulled = gram @ steps
    below = np.einsum("fo,fo->o", steps, pulled)
    above = np.einsum("fo,fo->o", weight.astype(np.float64), pulled)
    known = (below > 0) & (above > 0)
    scale = np.where(known, above / np.where(known, below, 1.0), grid.scale)
    return Grid(grid.dtype, np.maximum(scale, TINY).astype(np.float32), grid.zero_point, grid.axis)


# ---- inner -----------------------------------------------------------------------------------------------------
def _relative(power: Array) -> Floats:
    """Finite, of mean 1, and never quite 0: what no sample ever used is rounded as well."""
    found = np.asarray(power, np.float64)
    mean = found.mean() if found.size else 0.0
    if not np.isfinite(mean) or mean <= 0.0:
        return np.ones(found.shape, np.float32)
    return np.asarray(found / mean + 1e-3, np.float32)


def _best(w: Floats, heavy: Floats, bounds: tuple[int, int], ratios: tuple[float, ...]) -> tuple[Floats, Floats]:
    """w (blocks, size, outputs) -> scale, zero (blocks, outputs)"""
    low, high = bounds
    best = np.full((w.shape[0], w.shape[2]), np.inf, np.float32)
    scale, zero = np.empty_like(best), np.zeros_like(best)
    for ratio in ratios:
        s, z = _range(w, low, high, ratio)
        scaled = w / s[:, None]
        steps = np.clip(np.rint(scaled) + z[:, None], low, high) - z[:, None]
        weighted = steps * heavy
        below = np.einsum("bso,bso->bo", weighted, steps)
        above = np.einsum("bso,bso->bo", weighted, w)
        fitted = np.where((below > 0) & (above > 0), above / np.where(below > 0, below, 1), s).astype(np.float32)
        for one in (s, fitted):
            rounded = steps if one is s else np.clip(np.rint(w / one[:, None]) + z[:, None], low, high) - z[:, None]
            error = np.einsum("bso,bso->bo", heavy * (rounded * one[:, None] - w), rounded * one[:, None] - w)
            better = error < best
            best, scale, zero = np.where(better, error, best), np.where(better, one, scale), np.where(better, z, zero)
    return np.maximum(scale, np.float32(TINY)), zero


def _range(w: Floats, low: int, high: int, ratio: float) -> tuple[Floats, Floats]:
    """scale, zero (blocks, outputs) of `ratio` of the range of w."""
    if low < 0:
        top = np.abs(w).max(axis=1) * np.float32(ratio)
        return np.maximum(top / np.float32(high), np.float32(TINY)), np.zeros_like(top)
    most = np.maximum(w.max(axis=1), 0) * np.float32(ratio)
    least = np.minimum(w.min(axis=1), 0) * np.float32(ratio)
    s = np.maximum((most - least) / np.float32(high), np.float32(TINY))
    return s, np.clip(np.rint(-least / s), low, high).astype(np.float32)
