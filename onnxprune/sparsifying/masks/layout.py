"""How the weights of a layer form the blocks that leave, and which of them leave by their scores.

Methods see a weight as (n, k), outputs by inputs, with its columns in an order in which blocks are contiguous: tap by
tap of the kernel, and within a tap channel by channel. The last block of a tap, or of the rows, may be incomplete.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from onnxprune.sparse.patterns import Pattern

FloatArray = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Layout:
    """Blocks of a weight of n rows and taps * channels columns; `starts` is for a part of the columns (`part`)."""

    pattern: Pattern
    n: int
    channels: int
    taps: int = 1
    starts: tuple[int, ...] = ()

    @property
    def k(self) -> int:
        return self.channels * self.taps

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """(k,) the feature (channel-major, as in `capture.features`) at every column."""
        found: NDArray[np.int64] = np.arange(self.k).reshape(self.channels, self.taps).T.ravel()
        return found

    @cached_property
    def row_starts(self) -> NDArray[np.int64]:
        return np.arange(0, self.n, self.pattern.rows)

    @cached_property
    def column_starts(self) -> NDArray[np.int64]:
        """First columns of the blocks; of the groups of an N:M pattern."""
        if self.starts:
            return np.array(self.starts, np.int64)
        width = self.pattern.of or self.pattern.columns
        starts = np.arange(0, self.channels, width)
        return (np.arange(self.taps)[:, None] * self.channels + starts).ravel()

    @cached_property
    def row_counts(self) -> NDArray[np.int64]:
        return np.diff(self.row_starts, append=self.n)

    @cached_property
    def column_counts(self) -> NDArray[np.int64]:
        return np.diff(self.column_starts, append=self.k)

    @cached_property
    def sizes(self) -> FloatArray:
        """(row blocks, column blocks) weights in each."""
        return np.outer(self.row_counts, self.column_counts).astype(np.float64)

    def sums(self, values: FloatArray) -> FloatArray:
        """(row blocks, column blocks) of values (n, k)."""
        by_row = np.add.reduceat(values, self.row_starts, axis=0)
        return np.asarray(np.add.reduceat(by_row, self.column_starts, axis=1), np.float64)

    def spread(self, blocks: Bools) -> Bools:
        """(n, k) of what is true for whole blocks."""
        return np.repeat(np.repeat(blocks, self.row_counts, axis=0), self.column_counts, axis=1)

    def part(self, first: int, last: int) -> Layout:
        """The layout of the columns `first` to `last` alone, which are whole blocks."""
        inside = self.column_starts[(self.column_starts >= first) & (self.column_starts < last)]
        return Layout(self.pattern, self.n, last - first, starts=tuple((inside - first).tolist()))


def kept(layout: Layout, scores: FloatArray, share: float, allowed: Bools, *, by_row: bool = False) -> Bools:
    """(n, k) what stays if the lowest `scores` (n, k) leave: whole blocks by their mean, `share` of the weights, in all
    or (`by_row`) of every row block; of an N:M pattern what it says, or less in steps. What is not `allowed` goes.

    Of equal scores the last leaves first.
    """
    if layout.pattern.of:
        return _n_of_m(layout, scores, share, allowed)
    gone = layout.sums(allowed.astype(np.float64)) == 0
    mean = np.where(gone, -np.inf, layout.sums(np.where(allowed, scores, 0.0)) / layout.sizes)
    if by_row:
        stays = _largest(mean, layout.sizes, share)
    else:
        stays = _largest(mean.reshape(1, -1), layout.sizes.reshape(1, -1), share).reshape(mean.shape)
    return layout.spread(stays & ~gone) & allowed


def _largest(scores: FloatArray, sizes: FloatArray, share: float) -> Bools:
    """Of every row those that stay if the lowest leave, so that as nearly as can be `share` of the sizes is gone."""
    order = scores.shape[1] - 1 - np.argsort(scores[:, ::-1], axis=1, kind="stable")
    gone = np.cumsum(np.take_along_axis(sizes, order, axis=1), axis=1)
    gone = np.concatenate([np.zeros((len(gone), 1)), gone], axis=1)
    count = np.abs(gone - share * gone[:, -1:]).argmin(axis=1)
    stays = np.empty(scores.shape, bool)
    np.put_along_axis(stays, order, np.arange(scores.shape[1]) >= count[:, None], axis=1)
    return stays


def _n_of_m(layout: Layout, scores: FloatArray, share: float, allowed: Bools) -> Bools:
    """Of m inputs N m / M stay, rounded up; more than the pattern says while `share`, in steps, is not yet there."""
    pattern = layout.pattern
    count = max(pattern.kept, pattern.of - int(share * pattern.of + 1e-9))
    most = -(-layout.column_counts * count // pattern.of)  # of an incomplete group, too
    groups = len(layout.column_starts)
    column = np.repeat(np.arange(groups), layout.column_counts)
    owner = (np.arange(layout.n)[:, None] * groups + column).ravel()
    order = np.lexsort((-np.where(allowed, scores, -np.inf).ravel(), owner))  # stable: of equals the first stays
    first = np.concatenate([[0], np.cumsum(np.tile(layout.column_counts, layout.n))[:-1]])
    rank = np.arange(owner.size) - first[owner[order]]
    stays = np.empty(owner.size, bool)
    stays[order] = rank < most[owner[order] % groups]
    return stays.reshape(layout.n, layout.k) & allowed
