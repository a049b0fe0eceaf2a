"""Variations of samples that leave images images: mirrored, nearer or farther, and moved.

The original network says what every variation should give, so no label has to survive; more inputs than there are
samples keep the weights from fitting these few only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Span = tuple[float, float]
LEAST = 16  # pixels of a side below which nothing is done
ZOOM = math.log(1.4)  # of the factor by which a variation shows an image larger or smaller, at most
MOST_CHANNELS = 4  # of an image


def varied(feeds: dict[str, Array], rng: np.random.Generator, strength: float = 1.0) -> dict[str, Array]:
    """The feeds with every image varied, each in its own way; feeds of several inputs, and what is no image, stay.

    `strength`: 0 mirrors only, 1 zooms by up to ZOOM.
    """
    if len(feeds) != 1:
        return feeds
    ((name, array),) = feeds.items()
    if array.ndim != 4 or array.dtype.kind != "f":
        return feeds
    axis = next((axis for axis in (1, 3) if array.shape[axis] <= MOST_CHANNELS), None)
    if axis is None:
        return feeds
    planes = np.moveaxis(array.astype(np.float32, copy=False), axis, 1)
    if min(planes.shape[2:]) < LEAST:
        return feeds
    found = np.stack([_image(image, rng, strength * ZOOM) for image in planes])
    return {name: np.ascontiguousarray(np.moveaxis(found, 1, axis), array.dtype)}


def _image(image: Array, rng: np.random.Generator, most: float) -> Array:
    """image (channels, h, w): a window of it that is 1 / zoom as large, brought to its size, perhaps mirrored."""
    from PIL import Image

    high, wide = image.shape[1:]
    zoom = math.exp(rng.uniform(-most, most))
    top, left = (rng.uniform(*sorted((0.0, side - side / zoom))) for side in (high, wide))
    border = [_border(start, side / zoom, side) for start, side in ((top, high), (left, wide))]
    if any(any(one) for one in border):  # where the window reaches beyond the image, the image goes on mirrored
        image = np.pad(image, [(0, 0), *border], mode="reflect")
    top, left = top + border[0][0], left + border[1][0]
    box = (left, top, left + wide / zoom, top + high / zoom)
    found = [Image.fromarray(plane).resize((wide, high), Image.Resampling.BILINEAR, box) for plane in image]
    result = np.stack([np.asarray(plane) for plane in found])
    return result[..., ::-1] if rng.random() < 0.5 else result


def _border(start: float, length: float, side: int) -> tuple[int, int]:
    """Pixels that are missing before and behind an image of `side`."""
    return max(0, math.ceil(-start)), max(0, math.ceil(start + length - side))
