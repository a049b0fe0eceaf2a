"""Samples from the user's own code: `file.py:function`, or a callable.

The function takes no arguments and returns a dict of arrays, or yields dicts of one sample (no batch axis) or several,
or of one whole call, where the inputs of a call differ in their number of rows (pieces.py).
For a model of one input, a bare array does instead of the dict. It is asked for no more than `samples`, so one that
never ends is fine; one that never answers is not, except for Ctrl-C. How it is loaded: code.py.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.code import Code
from onnxprune.data.folder import DEFAULT_SAMPLES, Spooled
from onnxprune.data.pieces import Pieces
from onnxprune.data.specs import InputSpec, expected
from onnxprune.errors import DataError

_END = object()


def collect(function: Code, specs: Sequence[InputSpec], samples: int | None) -> Spooled | dict[str, NDArray[Any]]:
    """Call `function`: a dict of whole arrays as it is, or the first `samples` (default 1024) of what it yields.

    Raises DataError if it raises, gives nothing, or gives something that is not arrays of the model's inputs.
    """
    label, result = function.label, function()
    if isinstance(result, Mapping) or hasattr(result, "__array__"):
        return to_arrays(result, specs, label)
    if result is None or isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        raise DataError(
            f"{label} returned {type(result).__name__}", hint="It must return a dict of arrays, or yield dicts."
        )
    limit = samples or DEFAULT_SAMPLES
    pieces = Pieces(specs)
    with function.running():
        iterator = iter(result)
    more = _consume(iterator, pieces, function, limit)
    with contextlib.suppress(Exception), function.running():
        getattr(iterator, "close", lambda: None)()
    return Spooled(pieces, f"first {limit} samples" if more else "all it gave")


def _consume(iterator: Iterator[Any], pieces: Pieces, function: Code, limit: int) -> bool:
    """Gather the pieces; whether it was stopped at the limit."""
    for count in itertools.count(1):
        with function.running():
            item = next(iterator, _END)
        if item is _END:
            return False
        where = f"{function.label}, item {count}"
        pieces.add(to_arrays(item, pieces.specs, where), where)
        if pieces.enough(limit):
            return True
    raise AssertionError("unreachable")


def to_arrays(item: Any, specs: Sequence[InputSpec], label: str) -> dict[str, NDArray[Any]]:
    """Anything numpy understands as arrays (lists and tensors included), by input name. Raises DataError."""
    if not isinstance(item, Mapping):
        if len(specs) != 1 or not (hasattr(item, "__array__") or isinstance(item, (list, int, float))):
            raise DataError(f"{label}: a dict of arrays is needed, not {type(item).__name__}", hint=expected(specs))
        item = {specs[0].name: item}
    result = {}
    for name, value in item.items():
        try:
            array = np.asarray(value)
        except Exception as error:  # other libraries' conversions raise what they like
            raise DataError(f"{label}: {name!r} is not an array: {error}") from error
        if array.dtype.kind == "O" and not all(isinstance(one, str) for one in array.ravel()):
            raise DataError(f"{label}: {name!r} holds Python objects, not numbers")
        result[str(name)] = array
    return result
