"""The weight of one layer, made small: by itself, or by what samples say of its inputs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.capture.features import Linear
from onnxprune.capture.layers import joined
from onnxprune.capture.moments import Moments, Split
from onnxprune.capture.solve import solve
from onnxprune.model.grids import Grid
from onnxprune.quantizing.rounding import matrix_steps, ridge_of, rounded, steps_of
from onnxprune.quantizing.scales import bounds_of, searched
from onnxprune.quantizing.weights.packing import MIDDLE, unpacked
from onnxprune.quantizing.weights.places import BLOCKS, PRODUCT, RECURRENCE, Place
from onnxprune.quantizing.weights.request import FP16, INT4, WeightRequest
from onnxprune.quantizing.weights.stored import Stored

Array = NDArray[Any]
FloatArray = NDArray[np.float64]
RIDGES = (1e-3, 1e-2, 1e-1)
"""Of the least squares that are rounded as well, relative to the power of the inputs."""
LARGEST_SOLVED = 4096
"""Features up to which every ridge is tried; beyond, one."""
HALF_MOST = float(np.finfo(np.float16).max)
FARTHEST = 1.0
"""Of the norm of a weight: what lies as far from it as zeros do is no rounding of it."""


@dataclass(frozen=True)
class Small:
    """`stored`, or why it is not. error: squared, of the held-out output, relative to its variance. bias: a new one in
    the shape of the file, or None."""

    stored: Stored | None
    error: float | None = None
    bias: Array | None = None
    reason: str | None = None


def by_itself(place: Place, weight: Array, request: WeightRequest) -> Small:
    """The nearest, on the grids that lose least of the weights themselves."""
    reason = _unstorable(place, weight)
    if reason is not None:
        return Small(None, reason=reason)
    if place.kind == FP16:
        return Small(Stored(place, weight.astype(np.float16)))
    if place.form == BLOCKS:
        bare = Stored(place, weight)
        matrix = (weight.T if bare.turned else weight).astype(np.float32) * np.float32(bare.alpha)
        grid = _grid(place, matrix, request)
        return Small(Stored.blocks(place, grid.integers(matrix), grid, symmetric=request.symmetric))
    grid, (low, high) = _per_output(place, weight, request), _bounds(place, request)
    return Small(Stored(place, np.clip(grid.integers(weight), low, high), grid))


def by_samples(
    place: Place, linear: Linear, weight: Array, bias: Array | None, split: Split, request: WeightRequest
) -> Small:
    """Rounded so that what the layer gives is nearest to what the original gives.

    What is rounded are the layer's own weights, or those of least squares on its inputs as they are now, whatever the
    held-out samples lose less with.
    """
    reason = _unstorable(place, weight)
    if reason is not None:
        return Small(None, reason=reason)
    fitted = linear.bias is not None and linear.own_bias
    start = joined(linear, weight, bias)
    targets = [] if place.kind == FP16 else _targets(split.fit, start, fitted)
    target = min([start, *targets], key=lambda one: held_out_error(split, one)) if targets else start
    stored = _rounded(place, linear, target[..., :-1, :], weight, split.fit, request, fitted)
    if not moved_share(stored, weight) < FARTHEST:
        stored = by_itself(place, weight, request).stored or stored
    given = _given(linear, stored, target, split.fit, fitted)
    error = max(held_out_error(split, given), 0.0) / split.scale(start)
    new = None
    if fitted and bias is not None:
        new = given[..., -1, :].reshape(bias.shape).astype(bias.dtype)
    return Small(stored, error, new)


def held_out_error(split: Split, weight: FloatArray) -> float:
    """Mean squared error of a solution (..., d + 1, o), summed over outputs: by the rows where they are fewer than the
    features."""
    rows = split.held_out_rows
    if rows is None or rows.x.shape[-2] >= rows.x.shape[-1]:
        return split.held_out.error(weight)
    lost = rows.x @ weight.astype(np.float32) - rows.t
    return float(np.square(lost, dtype=np.float64).sum()) / max(split.held_out.positions, 1)


def moved_share(stored: Stored, weight: Array) -> float:
    """How far what is stored is from the weight, as a share of its norm: 1.0 if zeros were as near."""
    moved = np.square(stored.values() - weight).sum(dtype=np.float64)
    whole = np.square(weight, dtype=np.float32).sum(dtype=np.float64)
    return float(np.sqrt(moved / whole)) if whole else float("inf") if moved else 0.0


def beyond_nearest(stored: Stored, weight: Array, bits: int) -> float:
    """By how many steps a number is farther from the weight than the nearest one of the grid; of halves 0, or infinity.

    bits: of int8 that products use.
    """
    if stored.grid is None:
        return 0.0 if np.array_equal(stored.integers, weight.astype(np.float16)) else float("inf")
    grid, wanted, integers = stored.grid, weight, stored.integers
    if stored.place.form == BLOCKS:
        wanted = (weight.T if stored.turned else weight).astype(np.float32) * np.float32(stored.alpha)
        integers = unpacked(stored.integers, stored.features, stored.bits)
        nearest = grid.integers(wanted)
    else:
        used = bits if stored.place.form in (PRODUCT, RECURRENCE) else None
        nearest = np.clip(grid.integers(wanted), *bounds_of(TensorProto.INT8, used))
    further = grid.distance(grid.values(integers), wanted) - grid.distance(grid.values(nearest), wanted)
    return float(np.max(further, initial=0.0))


# ---- inner -----------------------------------------------------------------------------------------------------
def _unstorable(place: Place, weight: Array) -> str | None:
    if not np.isfinite(weight).all():
        return "its weight holds NaN or infinity"
    if place.kind == FP16 and weight.size and float(np.abs(weight).max()) > HALF_MOST:
        return f"its weight holds {float(np.abs(weight).max()):g}, more than fp16 has ({HALF_MOST:g})"
    return None


def _bounds(place: Place, request: WeightRequest) -> tuple[int, int]:
    """Of int8: fewer where sums of products with bytes are to fit into 16 bits."""
    return bounds_of(TensorProto.INT8, request.bits if place.form in (PRODUCT, RECURRENCE) else None)


def _grid(place: Place, matrix: Array, request: WeightRequest, power: Array | None = None) -> Grid:
    """In blocks, of unsigned integers; symmetric ones are around the middle."""
    four = place.kind == INT4
    kind = TensorProto.UINT4 if four else TensorProto.UINT8
    if not request.symmetric:
        return searched(matrix, kind, power=power, block=request.block)
    found = searched(matrix, TensorProto.INT4 if four else TensorProto.INT8, power=power, block=request.block)
    middle = np.full(found.scale.shape, MIDDLE[4 if four else 8]).astype(helper.tensor_dtype_to_np_dtype(kind))
    return Grid(kind, found.scale, middle, 0, request.block)


def _per_output(place: Place, weight: Array, request: WeightRequest, power: Array | None = None) -> Grid:
    """int8, a scale for every index of the axis of outputs."""
    rows = np.moveaxis(weight, place.axis, -1).reshape(-1, weight.shape[place.axis])
    bits = request.bits if place.form in (PRODUCT, RECURRENCE) else None
    found = searched(rows, TensorProto.INT8, power=power, bits=bits)
    return Grid(found.dtype, found.scale, found.zero_point, place.axis)


def _targets(fit: Moments, start: FloatArray, fitted: bool) -> list[FloatArray]:
    """Least squares on the inputs as they are, pulled towards the weights as they were."""
    ridges = RIDGES if start.shape[-2] <= LARGEST_SOLVED else RIDGES[-1:]
    found = (solve(fit, start, ridge, fitted) for ridge in ridges)
    return [one for one in found if one is not None]


def _rounded(
    place: Place,
    linear: Linear,
    target: FloatArray,
    weight: Array,
    fit: Moments,
    request: WeightRequest,
    fitted: bool,
) -> Stored:
    """target (..., features, outputs): what is to be rounded."""
    if place.kind == FP16:
        return Stored(place, weight.astype(np.float16))
    gram = centred(fit) if fitted else fit.gram[..., :-1, :-1]
    ridge = ridge_of(gram.shape[-1], fit.positions)
    if place.form == BLOCKS:
        grid = _grid(place, target, request, np.diagonal(gram))
        integers = rounded(target, gram, matrix_steps(grid, target.shape), ridge=ridge)
        return Stored.blocks(place, integers, grid, symmetric=request.symmetric)
    plain = replace(linear, alpha=1.0)
    bare = target / linear.alpha
    power = np.diagonal(gram) if linear.groups == 1 and not linear.implied and not linear.spread else None
    shape = weight.shape
    grid, (low, high) = _per_output(place, plain.unmatrix(bare, shape), request, power), _bounds(place, request)
    steps = replace(steps_of(grid, linear, shape), low=low, high=high)
    found = plain.unmatrix(rounded(bare, gram, steps, ridge=ridge), shape)
    return Stored(place, np.ascontiguousarray(found, np.int8), grid)


def centred(fit: Moments) -> FloatArray:
    """Second moments of the inputs around their means: a bias makes up for the rest."""
    last = fit.gram[..., :-1, -1:]
    return np.asarray(fit.gram[..., :-1, :-1] - last @ last.swapaxes(-1, -2) / max(fit.positions, 1), np.float64)


def _given(linear: Linear, stored: Stored, target: FloatArray, fit: Moments, fitted: bool) -> FloatArray:
    """The layer as it is stored, its bias (or that of `target`) as the last row."""
    matrix = linear.matrix(stored.values())
    if not fitted:
        return np.concatenate([matrix, target[..., -1:, :]], axis=-2)
    owed = fit.cross[..., -1:, :] - fit.gram[..., -1:, :-1] @ matrix
    return np.concatenate([matrix, owed / max(fit.positions, 1)], axis=-2)
