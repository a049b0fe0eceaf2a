"""How many samples a model really takes at once: what it declares, or what it was found to run on.

A batch may be open in the declared shapes and written down inside: a Reshape to (1, 12, 48) takes one sample at a time,
one to (4, -1) four. A call may hold together: the edges of a graph point to its nodes, and neither can be divided.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from numpy.typing import NDArray

from onnxprune.capture.session import open_session
from onnxprune.data import Calibration
from onnxprune.data.axes import named_batch
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.sizes import literal_batches

Runs = Callable[[Mapping[str, NDArray[Any]]], bool]
LARGEST_MODEL = 1 << 30  # bytes; larger ones are not run in one piece
USUAL = (2, 3, 4, 8, 16, 32, 64)
TRIED = (2, 3)  # different numbers of rows: what runs on both takes any


def runnable(model: Model, data: Calibration, *, whole: bool = False) -> Calibration:
    """`data` in feeds that the model runs on: as it is, in samples of one row or several, or in calls as they came.

    `whole`: it is known that rows do not run alone; then all of it is one sample, if nothing else runs. What runs on
    nothing is given back as it is: running it tells the error.
    """
    call = data.one_call()
    if model.size_bytes > LARGEST_MODEL or (data.fixed_batch and call is None):
        return data
    runs = runner(model)
    if not whole and (runs(data.batch(0, 1)) if data.fixed_batch else _any_number(data, runs)):
        return data
    pieces = data.calls()
    usual = (1, *literal_batches(build(model)), *USUAL) if pieces is None else (1, *pieces.sizes)
    for rows in usual:
        found = data.grouped(rows)
        if found is not None and runs(found.batch(0, 1)):
            return found
    if pieces is not None and runs(pieces.batch(0, 1)):
        return pieces
    return call if call is not None and runs(call.batch(0, 1)) else data


def _any_number(data: Calibration, runs: Runs) -> bool:
    return all(runs(data.batch(0, rows)) for rows in (1, *TRIED) if rows <= data.samples and _alike(data, rows))


def _alike(data: Calibration, rows: int) -> bool:
    """Whether the first samples have one shape."""
    return data.uniform or all(data.shapes(k) == data.shapes(0) for k in range(rows))


def runner(model: Model) -> Runs:
    """Whether the model runs on a feed."""
    session = open_session(model.complete_proto())

    def runs(feed: Mapping[str, NDArray[Any]]) -> bool:
        try:
            session.run(None, dict(feed))
        except Exception:  # onnxruntime raises many types
            return False
        return True

    return runs


def one_at_a_time(data: Calibration) -> Calibration | None:
    """Where rows turn out to depend on each other: calls as they came, or single rows if their axis is called a batch.

    None where rows may be steps in time.
    """
    pieces = data.calls()
    if pieces is not None and pieces.samples > 1:
        return pieces
    named = any(named_batch(spec.counted) for spec in data.specs)
    return data.grouped(1) if named else None
