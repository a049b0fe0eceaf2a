"""From the type of the data to the type of the model, only where no value changes its meaning.

| from | to | when |
| --- | --- | --- |
| float | another float | nothing finite becomes infinite (rounding is allowed: float64 -> float32 -> float16) |
| integer or bool | float | every value is exact; uint8 never: it needs a stated scale (preprocess.py) |
| integer or bool | integer or bool | every value fits |
| float | integer or bool | never |
| text | string | always |
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.data.specs import InputSpec, type_name
from onnxprune.errors import DataError

Convert = Callable[[NDArray[Any]], NDArray[Any]]


class Misfit(Exception):
    """A value does not fit the model's type. `row` says where in the array that was given."""

    def __init__(self, row: int, message: str) -> None:
        super().__init__(message)
        self.row, self.message = row, message


def converter(source: np.dtype[Any], spec: InputSpec, label: str) -> Convert:
    """The function that turns arrays of `source` into what the model is fed. Raises DataError where none is safe.

    The function itself raises Misfit if a value does not fit.
    """
    target, name = spec.numpy, type_name(spec)
    if source == target:
        return lambda array: array.astype(target, copy=False)
    if spec.dtype == TensorProto.BFLOAT16 and source == np.dtype("V2"):
        return lambda array: np.ascontiguousarray(array).view(ml_dtypes.bfloat16)  # numpy.save forgets the type
    before, after = family(source), family(target)
    if before == after == "text":
        return lambda array: array.astype(object)
    if before == "float" and after == "float":
        return lambda array: _narrow(array, target, name)
    if (before, after) in {("integer", "integer"), ("integer", "float")} and not (
        source == np.uint8 and after == "float"
    ):
        return lambda array: _exact(array, target, name)
    hint = "Convert the data first."
    if source == np.uint8 and after == "float":
        hint = "Say how the values are scaled: --preprocess imagenet, scale=1/255 (to 0..1) or scale=1 (as they are)."
    elif before == "float" and after == "integer":
        hint = "The model expects whole numbers (token ids, pixels): save them with an integer type."
    raise DataError(f"{label}: input {spec.name!r} is {name}, the data is {source}", hint=hint)


def family(dtype: np.dtype[Any]) -> str:
    """float, integer (bool included), complex, text or other."""
    if dtype.kind in "iub":
        return "integer"
    if dtype.kind == "f":
        return "float"
    if dtype.kind in "OUST":
        return "text"
    if dtype.kind == "c":
        return "complex"
    if dtype.kind == "V" and dtype.type.__module__ == "ml_dtypes":
        return "integer" if dtype in (np.dtype(ml_dtypes.int4), np.dtype(ml_dtypes.uint4)) else "float"
    return "other"


def _narrow(array: NDArray[Any], target: np.dtype[Any], name: str) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(target)
    if result.dtype.itemsize < array.dtype.itemsize:
        _require(np.isfinite(result) | ~np.isfinite(array), array, f"is too large for {name}")
    return result


def _exact(array: NDArray[Any], target: np.dtype[Any], name: str) -> NDArray[Any]:
    with np.errstate(over="ignore", invalid="ignore"):
        result = array.astype(target)
        same = result.astype(array.dtype) == array
    if target.kind in "iu" and array.dtype.kind in "iu":
        same &= (result < 0) == (array < 0)
    _require(same, array, f"cannot be held by {name}")
    return result


def _require(good: NDArray[np.bool_], array: NDArray[Any], problem: str) -> None:
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        raise Misfit(place[0] if place else 0, f"{array[place]} {problem}")
