"""Zeros are not stored: what is not zero follows with its distance from the one before (gap coding).

n symbols are rows of `depth`; `rows` symbols of neighbouring rows at one place are a block (with depth 1: `rows`
neighbours), so that weights pruned in blocks need one gap a block. Blocks go row block by row block, as in
`onnxprune.sparse.storage`; those with anything but zeros are stored. A gap is how many blocks further a block is than
the one before (the first counts from -1), a byte; 0 stands for 255 blocks further, with no block there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import ModelError

Bytes = NDArray[np.uint8]
Symbols = NDArray[Any]
"""Unsigned integers of any width: indices, or the elements themselves where they are stored as they are."""

FAR = 255
ROWS = (1, 2, 4, 8)
MOST_ROWS = 64
LEAST_ZEROS = 0.1
"""Share of zeros below which positions are never cheaper than one more symbol."""


class Blocks(NamedTuple):
    """The form of blocks. `rows` 0: dense, all symbols are stored and there are no gaps."""

    rows: int
    depth: int


DENSE = Blocks(0, 1)


def choose(
    symbols: Symbols, zero: int | None, depth: int, kernel: int, bits: Callable[[Symbols], float] | None = None
) -> Blocks:
    """The form that takes the fewest bits, by the entropy of what is stored (`bits` of symbols wider than a byte).

    `zero` is the symbol of zero; `depth` the symbols of a row, 1 if they are not whole rows; `kernel` the size of
    runs that may vanish together.
    """
    share = 0.0 if zero is None else float(np.count_nonzero(symbols == zero)) / max(symbols.size, 1)
    if zero is None or share < LEAST_ZEROS:
        return DENSE
    bits = bits or _bits
    best, least = DENSE, bits(symbols)
    for form in _forms(symbols.size, depth, kernel):
        kept, gaps = encode(symbols, zero, form)
        size = bits(kept) + _bits(gaps)
        if size < least:
            best, least = form, size
    return best


def encode(symbols: Symbols, zero: int, form: Blocks) -> tuple[Symbols, Bytes]:
    """The symbols of stored blocks, block after block, and the gaps."""
    if form.rows == 0:
        return symbols, np.zeros(0, np.uint8)
    blocks = _blocks(symbols, zero, form)
    stored = np.flatnonzero((blocks != zero).any(axis=1))
    steps = np.diff(stored, prepend=-1)
    far = (steps - 1) // FAR
    gaps = np.zeros(len(stored) + int(far.sum()), np.uint8)
    gaps[np.cumsum(far + 1) - 1] = steps - far * FAR
    return blocks[stored].ravel(), gaps


def places(gaps: Bytes, form: Blocks, count: int) -> NDArray[np.int64]:
    """The numbers of the stored blocks, increasing. `form` fits `count`. Raises ModelError if they lead elsewhere."""
    here = gaps != 0
    found: NDArray[np.int64] = (np.cumsum(np.where(here, gaps, FAR), dtype=np.int64) - 1)[here]
    if len(found) and found[-1] >= _blocks_in(form, count):
        raise ModelError("the gaps of a weight do not fit its values")
    return found


def decode(kept: Symbols, gaps: Bytes, zero: int, form: Blocks, count: int) -> Symbols:
    """`count` symbols again. `form` fits `count`. Raises ModelError if the gaps lead elsewhere."""
    if form.rows == 0:
        return kept
    stored = places(gaps, form, count)
    if len(stored) * form.rows != len(kept):
        raise ModelError("the gaps of a weight do not fit its values")
    blocks = np.full((_blocks_in(form, count), form.rows), zero, kept.dtype)
    blocks[stored] = kept.reshape(-1, form.rows)
    symbols: Symbols = blocks.reshape(-1, form.depth, form.rows).transpose(0, 2, 1).reshape(-1)[:count]
    return symbols


def _blocks_in(form: Blocks, count: int) -> int:
    return -(-(count // form.depth) // form.rows) * form.depth


def _blocks(symbols: Symbols, zero: int, form: Blocks) -> Symbols:
    """(blocks, rows), the last row block filled up with zeros."""
    lines = symbols.reshape(-1, form.depth)
    short = -len(lines) % form.rows
    if short:
        lines = np.concatenate([lines, np.full((short, form.depth), zero, symbols.dtype)])
    return np.ascontiguousarray(lines.reshape(-1, form.rows, form.depth).transpose(0, 2, 1)).reshape(-1, form.rows)


def _forms(size: int, depth: int, kernel: int) -> Iterator[Blocks]:
    seen = {Blocks(rows, 1) for rows in (*ROWS, kernel) if 1 <= rows <= MOST_ROWS}
    if depth > 1:
        seen |= {Blocks(rows, depth) for rows in ROWS if rows > 1 and rows * depth <= size}
    yield from sorted(seen)


def _bits(symbols: Symbols) -> float:
    """Bits of a Huffman code, about: the entropy, at least one bit a symbol if there are two kinds."""
    counts = np.bincount(symbols, minlength=1).astype(np.float64)
    counts = counts[counts > 0]
    if len(counts) < 2:
        return 0.0
    total = counts.sum()
    return float(max(-(counts * np.log2(counts / total)).sum(), total))
