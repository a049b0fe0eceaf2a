"""Whether the rows of a model's inputs are samples: does each get the same result alone as among others?

The axis that counts samples mostly does so, and then rows may be drawn, shuffled and held out one by one. Along time,
or where a network looks at all rows at once (recurrent layers fed by time, attention over the first axis), a row alone
means something else. The model itself tells: a few rows run together and one by one. Where it does not run so, it may
take another number of rows only (`feeding.py`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.batches import known
from onnxprune.capture.feeding import one_at_a_time, runnable, runner
from onnxprune.capture.sensitivity import judged
from onnxprune.capture.walker import Walker
from onnxprune.data import Calibration
from onnxprune.data.batch import Batch
from onnxprune.errors import DataError
from onnxprune.model.random import is_random
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
HELD_OUT = 0.2
ROWS = 4  # that are run
LARGEST_MODEL = 1 << 30  # bytes; larger ones are not run in one piece
FAR = 0.05  # of the norm: what depends on other rows differs by more, rounding and quantisation by less


def arranged(trace: Trace, data: Calibration) -> tuple[Calibration, bool]:
    """`data` in samples that the model takes, and whether each of them stands for itself: if not, a feed has them all.

    Rows that depend on each other are calls as they came, or single rows where their axis is called a batch: a model
    that was traced with one row may mix several.
    """
    model = trace.graph.model
    if data.fixed_batch:
        return runnable(model, data), True
    alone = rows_are_samples(trace, some_rows(data))
    if alone:
        return data, True
    other = one_at_a_time(data)
    if alone is None:
        runs = runner(model)
        parts = (data, *data.split(HELD_OUT, None))
        if other is not None or not all(runs(part.batch(0, part.samples)) for part in parts if part.uniform):
            other = runnable(model, data, whole=True)
    return (data, False) if other is None or other is data else (other, True)


def some_rows(data: Calibration) -> Batch:
    """A feed of a few rows, or of one if all differ in shape."""
    return max(itertools.islice(data.batches(ROWS), ROWS), key=lambda feed: feed.samples)


def rows_are_samples(trace: Trace, feed: Mapping[str, Array]) -> bool | None:
    """Whether the last layers of the network give the samples of `feed` what they give them alone; None if they do not
    run so.

    True, too, where that cannot be told: there is one row, two runs differ, or the model is too large.
    """
    model = trace.graph.model
    whole = known(model, feed)
    if whole.fixed or whole.samples == 1 or model.size_bytes > LARGEST_MODEL or is_random(model.proto):
        return True
    together = whole.take(0, ROWS)
    keys = judged(trace)
    try:
        first, again = (_values(trace, [together], keys) for _ in range(2))
        if not all(_near(a, b) for a, b in zip(first[0], again[0], strict=True)):
            return True
        alone = _values(trace, list(together.one_by_one()), keys)
    except DataError:  # as a whole, or in another number, they may run
        return None
    return all(_joined(value, [one[k] for one in alone]) for k, value in enumerate(first[0]))


def _values(trace: Trace, feeds: Sequence[dict[str, Array]], keys: list[str]) -> list[list[Array]]:
    """Per feed the values `keys` of floats. The rest of the network is run, too: it may take these feeds or not."""
    model = trace.graph.model
    walker = Walker(model, list(feeds), trace.facts.dtypes)
    walker.reach([*keys, *(value.name for value in model.proto.graph.output)])
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
