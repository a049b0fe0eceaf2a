"""Arrays as they come to rows in the model's type, layout and size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.column import Rows
from onnxprune.data.convert import Convert, converter, family
from onnxprune.data.images import resize_pixels
from onnxprune.data.preprocess import Geometry, Preprocess, arithmetic, geometry, require_scale, target
from onnxprune.data.specs import InputSpec
from onnxprune.data.store import Spool
from onnxprune.errors import UsageError


@dataclass(frozen=True)
class Raw:
    """One input's data before it is fitted: arrays (rows, *item), and (first row, label) where rows have names."""

    arrays: Sequence[NDArray[Any]]
    labels: Sequence[tuple[int, str]] = ()
    name: str = ""


def fit(spec: InputSpec, raw: Raw, steps: Preprocess | None) -> Rows:
    """Rows that the model can be fed. uint8 arrays go through `steps`, where there are any; nothing else does.

    Raises DataError or UsageError where type or steps do not fit the input. Shapes are checked elsewhere.
    """
    runs: list[tuple[NDArray[Any], Convert]] = []
    first = 0
    for array in raw.arrays:
        label = next((text for start, text in reversed(raw.labels) if start <= first), raw.name)
        if steps is not None and takes_pixels(spec, array):
            runs.append(_pixels(spec, array, steps, label))
        else:
            runs.append((array, converter(array.dtype, spec, label)))
        first += len(array)
    return Rows(runs, raw.labels, raw.name)


def takes_pixels(spec: InputSpec, array: NDArray[Any]) -> bool:
    """Whether preprocessing applies: bytes for an input of floats, or for an input of images."""
    return array.dtype == np.uint8 and (family(spec.numpy) == "float" or len(spec.shape) == 4)


def _pixels(spec: InputSpec, array: NDArray[Any], steps: Preprocess, label: str) -> tuple[NDArray[Any], Convert]:
    """(rows, *item) of uint8 and the arithmetic to come. Layout and colour order are views, resizing is a copy."""
    require_scale(spec, steps, label)
    number = family(spec.numpy) == "float"
    if len(spec.shape) != 4 or array.ndim != 4:
        return array, arithmetic(spec, steps, None, 1)
    wanted = target(spec, steps)
    other = 4 - wanted.axis
    axis = other if array.shape[wanted.axis] != wanted.channels == array.shape[other] else wanted.axis
    pictures = np.moveaxis(array, axis, 3)
    if pictures.shape[3] == wanted.channels:
        pictures = _sized(pictures, geometry(spec, steps, wanted), label)
    if steps.color == "bgr":
        if wanted.channels != 3:
            raise UsageError(f"--preprocess: color=bgr needs 3 channels, input {spec} has {wanted.channels}")
        pictures = pictures[..., ::-1]
    convert = arithmetic(spec, steps, wanted.axis, wanted.channels) if number else converter(array.dtype, spec, label)
    return np.moveaxis(pictures, 3, wanted.axis), convert


def _sized(pictures: NDArray[Any], shaping: Geometry, label: str) -> NDArray[Any]:
    """(rows, height, width, channels) in the wanted size. Arrays that have it already are left alone."""
    size = pictures.shape[1:3]
    done = size == shaping.size if shaping.size else shaping.resize in (None, min(size))
    if done or not len(pictures) or 0 in size:
        return pictures
    spool = Spool()
    for row, picture in enumerate(pictures):
        spool.add(resize_pixels(picture, shaping, f"{label}, row {row}")[None], "")
    return spool.arrays()[0]
