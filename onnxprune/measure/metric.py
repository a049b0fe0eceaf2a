"""The user's metric: `file.py:function`, or a callable.

    def metric(model_path: str) -> float:
        "How good the ONNX model in this file is: higher is better."

It gets the path of an ONNX file (with its data file, if it has one, beside it) and returns one finite number. For an
error or a loss, return its negative: `return -error`. It is called once for the original, and once for every candidate;
the file is a copy (files.py says why), and is gone afterwards. It runs in this process; how it is loaded: data/code.py.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.data.code import Code, code_of, is_function, loaded
from onnxprune.errors import DataError, UsageError
from onnxprune.measure.files import private_copy
from onnxprune.model.load import Model

PROTOCOL = "The function gets the path of an ONNX file and returns one number, higher is better."


@dataclass(frozen=True)
class Metric:
    """A metric that can be called. `label` is for people: base names only."""

    code: Code

    @property
    def label(self) -> str:
        return self.code.label

    @property
    def file(self) -> str | None:
        return self.code.file

    def __call__(self, model: Model | Path) -> float:
        """Its value for a model. Raises DataError if it raises, or gives no finite number."""
        with private_copy(model) as path:
            return self._number(self.code(str(path)), path.name)

    def _number(self, value: Any, name: str) -> float:
        if isinstance(value, (str, bytes)):
            raise DataError(f"{self.label} returned {type(value).__name__}, not a number", hint=PROTOCOL)
        try:
            number = float(value)
        except Exception as error:  # other libraries' conversions raise what they like
            raise DataError(f"{self.label} returned {type(value).__name__}, not a number", hint=PROTOCOL) from error
        if not math.isfinite(number):
            raise DataError(f"{self.label} returned {number} for {name}", hint=PROTOCOL)
        return number


@contextlib.contextmanager
def open_metric(metric: str | Callable[..., Any]) -> Iterator[Metric]:
    """The metric, while its folder is importable.

    Raises UsageError if it is not file.py:function, or these do not exist; DataError if the file cannot be executed.
    """
    if callable(metric):
        yield Metric(code_of(metric))
        return
    if not is_function(metric):
        raise UsageError(f"--metric is file.py:function, found {metric!r}", hint=PROTOCOL)
    with loaded(metric) as function:
        yield Metric(function)
