"""Byte planes: the first bytes of all elements, then the second ones, ...: exponents repeat, mantissas do not."""

from __future__ import annotations

import numpy as np


def split(data: bytes, width: int) -> list[bytes]:
    """The planes of elements of `width` bytes."""
    elements = np.frombuffer(data, np.uint8).reshape(-1, width)
    return [elements[:, k].tobytes() for k in range(width)]


def join(planes: list[bytes]) -> bytes:
    """The elements again; the planes are of equal length."""
    return np.stack([np.frombuffer(plane, np.uint8) for plane in planes], axis=1).tobytes()
