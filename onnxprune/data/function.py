"""Samples from the user's own code: `file.py:function`, or a callable.

The function takes no arguments and returns a dict of arrays, or yields dicts of one sample (no batch axis) or several.
For a model of one input, a bare array does instead of the dict. It runs in this process, only because the command
line or the caller named it; what it prints goes to stderr; no bytecode is written next to the file. It is asked for
no more than `samples`, so one that never ends is fine; one that never answers is not, except for Ctrl-C.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.folder import DEFAULT_SAMPLES, Spooled, add_piece
from onnxprune.data.npy import map_path
from onnxprune.data.specs import InputSpec, expected
from onnxprune.data.store import Spool
from onnxprune.errors import DataError, UsageError, did_you_mean

_END = object()
_MODULE = "onnxprune_data_function"


@contextlib.contextmanager
def loaded(text: str) -> Iterator[Callable[[], Any]]:
    """The function of `file.py:function`, while the file's folder is importable.

    Raises UsageError if file or function do not exist, DataError if the file cannot be executed.
    """
    name, _, function = text.rpartition(":")
    path = Path(name)
    source = bytes(map_path(path))
    module = types.ModuleType(_MODULE)
    module.__file__ = str(path)
    before = sys.dont_write_bytecode, sys.modules.get(_MODULE)
    folder = str(path.resolve().parent)
    sys.dont_write_bytecode, sys.modules[_MODULE] = True, module
    sys.path.insert(0, folder)
    try:
        with _guard(path.name, str(path)):
            exec(compile(source, str(path), "exec", dont_inherit=True), module.__dict__)
        yield _function(module, function, path.name)
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
        sys.dont_write_bytecode = before[0]
        if before[1] is None:
            sys.modules.pop(_MODULE, None)
        else:
            sys.modules[_MODULE] = before[1]


def _function(module: types.ModuleType, name: str, file: str) -> Callable[[], Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    known = [key for key, value in vars(module).items() if isinstance(value, types.FunctionType)]
    guess = did_you_mean(name, known)
    raise UsageError(
        f"{file} has no function {name!r}", hint=f"{guess}Its functions: {', '.join(sorted(known)) or 'none'}"
    )


@contextlib.contextmanager
def _guard(label: str, file: str | None) -> Iterator[None]:
    """Whatever the user's code raises becomes a DataError with its message and line."""
    with contextlib.redirect_stdout(sys.stderr):
        try:
            yield
        except (Exception, SystemExit) as error:
            raise DataError(f"{label} failed{_line(error, file)}: {type(error).__name__}: {error}") from error


def _line(error: BaseException, file: str | None) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f" in line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file in (None, frame.filename)]
    if not frames or frames[-1].filename == __file__:
        return ""
    text = f" ({frames[-1].line})" if frames[-1].line else ""
    return f" in line {frames[-1].lineno}{text}"


def collect(
    function: Callable[[], Any], specs: Sequence[InputSpec], label: str, samples: int | None, file: str | None = None
) -> Spooled | dict[str, NDArray[Any]]:
    """Call `function`: a dict of whole arrays as it is, or the first `samples` (default 1024) of what it yields.

    Raises DataError if it raises, gives nothing, or gives something that is not arrays of the model's inputs.
    """
    with _guard(label, file):
        result = function()
    if isinstance(result, Mapping) or hasattr(result, "__array__"):
        return to_arrays(result, specs, label)
    if result is None or isinstance(result, (str, bytes)) or not isinstance(result, Iterable):
        raise DataError(
            f"{label} returned {type(result).__name__}", hint="It must return a dict of arrays, or yield dicts."
        )
    limit = samples or DEFAULT_SAMPLES
    spools = {spec.name: Spool() for spec in specs}
    with _guard(label, file):
        iterator = iter(result)
    more = _consume(iterator, specs, spools, label, file, limit)
    with contextlib.suppress(Exception):
        getattr(iterator, "close", lambda: None)()
    return Spooled(spools, f"first {limit} samples" if more else "all it gave")


def _consume(
    iterator: Iterator[Any],
    specs: Sequence[InputSpec],
    spools: Mapping[str, Spool],
    label: str,
    file: str | None,
    limit: int,
) -> bool:
    """Fill the spools; whether it was stopped at the limit."""
    for count in itertools.count(1):
        with _guard(label, file):
            item = next(iterator, _END)
        if item is _END:
            return False
        where = f"{label}, item {count}"
        add_piece(spools, specs, to_arrays(item, specs, where), where)
        if all(spools[spec.name].rows >= limit * spec.group for spec in specs):
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


def label_of(function: Callable[..., Any]) -> tuple[str, str | None]:
    """A callable's name, and the file that its code is in."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return str(name), os.fspath(code.co_filename) if code is not None else None
