"""The layout in which MatMulNBits reads integers of 4 bits.

B is (outputs, blocks, block / 2) bytes: the weights of an output in blocks of features, the first of two in the lower
half of a byte. What a last block has too much stands for nothing. Scales are (outputs, blocks), zero points (outputs,
ceil(blocks / 2)) bytes, in halves as well; without them they are 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
MIDDLE = 8
"""The zero point where none is given."""


def pack(integers: Array, block: int) -> NDArray[np.uint8]:
    """(features, outputs) of 0 to 15 -> (outputs, blocks, block / 2)"""
    features, outputs = integers.shape
    count = -(-features // block)
    whole = np.full((outputs, count * block), MIDDLE, np.uint8)
    whole[:, :features] = integers.T.astype(np.uint8)
    return _halves(whole).reshape(outputs, count, block // 2)


def unpacked(packed: NDArray[np.uint8], features: int, outputs: int) -> NDArray[np.uint8]:
    """The inverse of `pack`: (features, outputs)."""
    flat = packed.reshape(outputs, -1)
    whole = np.empty((outputs, flat.shape[1] * 2), np.uint8)
    whole[:, ::2], whole[:, 1::2] = flat & 15, flat >> 4
    return np.asarray(whole[:, :features].T)


def packed_zeros(zero: Array) -> NDArray[np.uint8]:
    """Zero points (blocks, outputs) -> (outputs, ceil(blocks / 2))"""
    whole = np.full((zero.shape[1], zero.shape[0] + zero.shape[0] % 2), MIDDLE, np.uint8)
    whole[:, : zero.shape[0]] = zero.T.astype(np.uint8)
    return _halves(whole)


def _halves(whole: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(whole[:, ::2] | (whole[:, 1::2] << 4))
