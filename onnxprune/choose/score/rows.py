"""Reading filters as float64, a bounded block at a time, whatever type the file stores them in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.registry import FloatArray, Layer
from onnxprune.errors import ModelError

_BLOCK = 1 << 16  # elements converted at once: 512 KiB of float64, which stays in the cache
_TILE_ROWS = 512
_TILE_COLUMNS = 4096


def read(layer: Layer, rows: slice | NDArray[np.int64], columns: slice) -> FloatArray:
    """A fresh float64 copy of some rows and columns; ModelError if a weight is not a finite real number."""
    return _convert(layer, layer.filters[rows, columns], "weights")


def read_scale(layer: Layer) -> FloatArray | None:
    """|scale| as float64 (n,), checked like the weights."""
    return None if layer.scale is None else np.abs(_convert(layer, layer.scale, "batch normalisation scales"))


def _convert(layer: Layer, values: NDArray[Any], what: str) -> FloatArray:
    if values.dtype.kind in "cOSUMm" or values.dtype.names is not None:
        raise ModelError(f"the {what} of {layer.name!r} have type {values.dtype}, which has no magnitude to score")
    out = values.astype(np.float64)
    if not np.isfinite(out).all():
        raise ModelError(
            f"the {what} of {layer.name!r} hold NaN or infinity, so its filters cannot be ranked",
            hint="the model is damaged, or overflowed when it was converted to a narrower type: export it again",
        )
    return out


def blocks(layer: Layer) -> Iterator[tuple[slice, FloatArray]]:
    """(rows, float64 block) that together cover the filters once; a block may be overwritten."""
    n, features = layer.filters.shape
    width = min(max(features, 1), _BLOCK)
    height = max(1, _BLOCK // width)
    for top in range(0, n, height):
        for left in range(0, features, width):
            rows = slice(top, min(top + height, n))
            yield rows, read(layer, rows, slice(left, left + width))


def squared_norms(layer: Layer) -> FloatArray:
    """sum_k W_ik^2 for every filter: (n,) float64."""
    total = np.zeros(len(layer.filters))
    for rows, block in blocks(layer):
        np.multiply(block, block, out=block)
        total[rows] += block.sum(axis=1)
    return total


def gram_tiles(layer: Layer, order: NDArray[np.int64]) -> Iterator[tuple[slice, slice, FloatArray]]:
    """Tiles of the Gram matrix of `filters[order]`, on and below the diagonal.

    Gives (i, j, W_i W_j') with i.start >= j.start, slices into `order`. Memory: two 512 x 4096 blocks and one tile.
    """
    features = layer.filters.shape[1]
    starts = range(0, len(order), _TILE_ROWS)
    for top in starts:
        i = slice(top, min(top + _TILE_ROWS, len(order)))
        for left in (start for start in starts if start <= top):
            j = slice(left, min(left + _TILE_ROWS, len(order)))
            tile = np.zeros((i.stop - i.start, j.stop - j.start))
            for column in range(0, features, _TILE_COLUMNS):
                columns = slice(column, column + _TILE_COLUMNS)
                a = read(layer, order[i], columns)
                b = a if left == top else read(layer, order[j], columns)
                tile += a @ b.T
            yield i, j, tile


def distinct(layer: Layer) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The different filters, in an order that depends on their values only.

    Gives (first, inverse, count): the lowest row of every different filter, for every row the position of its value in
    `first`, and how often each value occurs. Rows are told apart by a 128-bit digest. Work on `filters[first]` gives
    equal filters exactly equal scores, and permuted filters exactly permuted scores, in spite of rounding.
    """
    n, features = layer.filters.shape
    height = max(1, _BLOCK // max(features, 1))
    digests = np.empty(n, dtype="V16")
    for top in range(0, n, height):
        rows = slice(top, min(top + height, n))
        block = np.ascontiguousarray(read(layer, rows, slice(None)) + 0.0)  # -0.0 and 0.0 are the same weight
        for row, values in enumerate(block, start=top):
            digests[row] = hashlib.blake2b(values.data, digest_size=16).digest()
    keys = digests.view([("a", "<u8"), ("b", "<u8")])
    order = np.lexsort((np.arange(n), keys["b"], keys["a"]))
    ranked = keys[order]
    new = np.ones(n, dtype=bool)
    new[1:] = ranked[1:] != ranked[:-1]
    inverse = np.empty(n, dtype=np.int64)
    inverse[order] = np.cumsum(new) - 1
    return order[new].astype(np.int64), inverse, np.bincount(inverse).astype(np.int64)
