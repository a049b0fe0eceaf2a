"""Random masks of a pattern: for times, which weights stay hardly matters; how many do, and in which blocks, does."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from onnxprune.sparse.masks import Mask
from onnxprune.sparse.patterns import Pattern
from onnxprune.sparsifying.masks.layout import Layout, kept


def random_mask(
    shape: tuple[int, ...], pattern: Pattern, sparsity: float, *, transposed: bool = False, seed: int = 0
) -> Mask:
    """A mask of the `shape` of a weight as the file has it: outputs first, or last if it is `transposed` (a matrix).

    `sparsity` is the share that leaves; of an N:M pattern what the pattern says leaves.
    """
    n, channels, *kernel = shape[::-1] if transposed else shape
    layout = Layout(pattern, n, channels, math.prod(kernel))
    scores = np.random.default_rng(seed).random((n, layout.k))
    if pattern.size > 1:  # whole blocks share a number, so that all are equally likely whatever their sizes
        blocks = np.random.default_rng(seed).random((len(layout.row_starts), len(layout.column_starts)))
        scores = np.repeat(np.repeat(blocks, layout.row_counts, axis=0), layout.column_counts, axis=1)
    stays = kept(layout, scores, pattern.share or sparsity, np.ones(scores.shape, bool))
    keep: NDArray[np.bool_] = np.empty((n, layout.k), bool)
    keep[:, layout.order] = stays
    found = keep.reshape(n, channels, *kernel)
    return Mask(np.ascontiguousarray(found.T) if transposed else found, pattern)
