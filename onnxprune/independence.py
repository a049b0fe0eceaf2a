"""Whether the rows of a model's inputs are samples: does each get the same result alone as among others?

The first axis of an input mostly counts samples, and then rows may be drawn, shuffled and held out one by one. Along
time, or where a network looks at all rows at once (recurrent layers fed by time, attention over the first axis), a row
alone means something else. The model itself tells: a few rows run together and one by one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.walker import Walker
from onnxprune.errors import DataError
from onnxprune.sensitivity import judged
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
ROWS = 4  # that are run
LARGEST_MODEL = 1 << 30  # bytes; larger ones are not run in one piece
FAR = 0.05  # of the norm: what depends on other rows differs by more, rounding and quantisation by less


def rows_are_samples(trace: Trace, feed: Mapping[str, Array]) -> bool:
    """Whether the last layers of the network give the rows of `feed` (every input's axis 0) what they give them alone.

    True, too, where that cannot be told: there is one row, two runs differ, or the model is too large.
    """
    rows = {len(array) for array in feed.values() if array.ndim}
    if rows == {1} or len(rows) != 1 or trace.graph.model.size_bytes > LARGEST_MODEL:
        return True
    picked = range(min(rows.pop(), ROWS))
    together = {name: array[: len(picked)] for name, array in feed.items()}
    keys = judged(trace)
    try:
        first, again = (_values(trace, [together], keys) for _ in range(2))
        if not all(_near(a, b) for a, b in zip(first[0], again[0], strict=True)):
            return True
        alone = _values(
            trace, [{name: array[k : k + 1] for name, array in together.items()} for k in range(len(picked))], keys
        )
    except DataError:  # as a whole they may run
        return False
    return all(_joined(value, [one[k] for one in alone]) for k, value in enumerate(first[0]))


def _values(trace: Trace, feeds: list[dict[str, Array]], keys: list[str]) -> list[list[Array]]:
    """Per feed the values `keys` of floats."""
    walker = Walker(trace.graph.model, feeds, trace.facts.dtypes)
    walker.reach(keys)
    found = [walker.values(key) for key in keys]
    return [[values[k] for values in found if values[k].dtype.kind == "f"] for k in range(len(feeds))]


def _joined(value: Array, parts: list[Array]) -> bool:
    """Whether the parts, one after the other along some axis, are the value; what is the same for all has no axis."""
    if all(part.shape == value.shape and _near(value, part) for part in parts):
        return True
    if any(part.ndim != value.ndim for part in parts):
        return False
    for axis in range(value.ndim):
        shapes = {part.shape[:axis] + part.shape[axis + 1 :] for part in parts}
        if len(shapes) == 1 and sum(part.shape[axis] for part in parts) == value.shape[axis]:
            joined = np.concatenate(parts, axis=axis)
            if joined.shape == value.shape and _near(value, joined):
                return True
    return False


def _near(a: Array, b: Array) -> bool:
    if a.shape != b.shape:
        return False
    wide, other = a.astype(np.float64), b.astype(np.float64)
    finite = np.isfinite(wide) & np.isfinite(other)
    distance = np.linalg.norm(wide[finite] - other[finite])
    return bool(distance <= FAR * np.linalg.norm(wide[finite]))
