"""The layout in which MatMulNBits reads integers of 4 or 8 bits.

B is (outputs, blocks, bytes of a block): the weights of an output in blocks of features, of 4 bits the first of two in
the lower half of a byte. What a last block has too much stands for nothing. Scales are (outputs, blocks), zero points
(outputs, bytes), in halves as well; without them they are 8, or 128.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MIDDLE = {4: 8, 8: 128}
"""The zero point where none is given."""


def pack(integers: Array, block: int, bits: int) -> NDArray[np.uint8]:
    """(features, outputs) of unsigned integers -> (outputs, blocks, bytes of a block)"""
    features, outputs = integers.shape
    count = -(-features // block)
    whole = np.full((outputs, count * block), MIDDLE[bits], np.uint8)
    whole[:, :features] = integers.T.astype(np.uint8)
    return _bytes(whole, bits).reshape(outputs, count, -1)


def unpacked(packed: NDArray[np.uint8], features: int, bits: int) -> NDArray[np.uint8]:
    """The inverse of `pack`: (features, outputs)."""
    flat = packed.reshape(len(packed), -1)
    if bits == 8:
        return np.asarray(flat[:, :features].T)
    whole = np.empty((len(flat), flat.shape[1] * 2), np.uint8)
    whole[:, ::2], whole[:, 1::2] = flat & 15, flat >> 4
    return np.asarray(whole[:, :features].T)


def packed_zeros(zero: Array, bits: int) -> NDArray[np.uint8]:
    """Zero points (blocks, outputs) -> (outputs, bytes)"""
    odd = zero.shape[0] % 2 if bits == 4 else 0
    whole = np.full((zero.shape[1], zero.shape[0] + odd), MIDDLE[bits], np.uint8)
    whole[:, : zero.shape[0]] = zero.T.astype(np.uint8)
    return _bytes(whole, bits)


def zeros_unpacked(stored: NDArray[np.uint8], blocks: int, bits: int) -> NDArray[np.uint8]:
    """The inverse of `packed_zeros`: (blocks, outputs)."""
    return unpacked(stored, blocks, bits)


def _bytes(whole: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    return whole if bits == 8 else np.ascontiguousarray(whole[:, ::2] | (whole[:, 1::2] << 4))
