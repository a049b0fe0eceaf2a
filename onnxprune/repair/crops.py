"""Parts of large samples as samples of their own: where a network takes inputs of any size, it does the same on a part.

A convolutional network for images gives on a part what it gives on the whole, but for a rim. Two networks that are
compared on the same parts are compared on the same things, and many small parts say more than a few large images for
the same work.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.batch import Batch
from onnxprune.model.load import Model

Array = NDArray[Any]
Feeds = dict[str, Array]
LEAST, STEP = 32, 16
"""Sides of a part in positions: no smaller than that, and multiples of what networks usually halve."""
PLACES = (2, 3)


def parts(model: Model, batches: Sequence[Feeds]) -> Iterator[list[Feeds]]:
    """The samples in smaller and smaller parts; nothing if the model has another input than one of (samples, channels,
    height, width) with open height and width, or fixes how many samples a feed has.
    """
    name = _open_input(model)
    if name is None or any(set(batch) != {name} or _fixed(batch) for batch in batches):
        return
    side = min(batch[name].shape[axis] for batch in batches for axis in PLACES)
    while side // 2 // STEP * STEP >= LEAST:
        side = side // 2 // STEP * STEP
        yield [_cut(batch, name, side) for batch in batches]


def _open_input(model: Model) -> str | None:
    """The only input, if it has two open sizes behind channels."""
    inputs = [value for value in model.proto.graph.input if value.name not in model.tensors]
    if len(inputs) != 1:
        return None
    dims = inputs[0].type.tensor_type.shape.dim
    is_open = len(dims) == 4 and all(not dims[axis].HasField("dim_value") for axis in PLACES)
    return inputs[0].name if is_open and dims[1].HasField("dim_value") else None


def _fixed(batch: Feeds) -> bool:
    return isinstance(batch, Batch) and (batch.fixed or any(axis != 0 for axis in batch.axes.values()))


def _cut(batch: Feeds, name: str, side: int) -> Feeds:
    """All parts of side x side that fit without overlap, one sample after the other."""
    x = batch[name]
    rows, columns = (x.shape[axis] // side for axis in PLACES)
    inner = x[:, :, : rows * side, : columns * side].reshape(*x.shape[:2], rows, side, columns, side)
    cut = np.ascontiguousarray(inner.transpose(0, 2, 4, 1, 3, 5)).reshape(-1, x.shape[1], side, side)
    return Batch({name: cut}, {name: 0}, samples=len(cut))
