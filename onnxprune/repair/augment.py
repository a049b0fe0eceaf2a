"""Variations of samples that leave images images: mirrored, and moved by a few pixels.

The original network says what every variation should give, so no label has to survive; more inputs than there are
samples keep the weights from fitting these few only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
LEAST, SHIFT = 16, 8  # pixels of a side below which nothing is done; a side moves by up to 1 / SHIFT of it
MOST_CHANNELS = 4  # of an image


def varied(feeds: dict[str, Array], rng: np.random.Generator) -> dict[str, Array]:
    """The feeds with every image varied, all samples alike; feeds of several inputs, and what is no image, stay."""
    if len(feeds) != 1:
        return feeds
    ((name, array),) = feeds.items()
    if array.ndim != 4 or array.dtype.kind != "f":
        return feeds
    channels = next((axis for axis in (1, 3) if array.shape[axis] <= MOST_CHANNELS), None)
    if channels is None:
        return feeds
    axes = (2, 3) if channels == 1 else (1, 2)
    if min(array.shape[axis] for axis in axes) < LEAST:
        return feeds
    if rng.random() < 0.5:
        array = np.flip(array, axes[1])
    shifts = [int(rng.integers(-(array.shape[a] // SHIFT), array.shape[a] // SHIFT + 1)) for a in axes]
    return {name: np.ascontiguousarray(np.roll(array, shifts, axes))}
