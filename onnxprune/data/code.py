"""The user's own code: `file.py:function`, or a callable.

It runs in this process, only because the command line or the caller named it; what it prints goes to stderr; no
bytecode is written next to the file; what it raises becomes a DataError with its line.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onnxprune.data.npy import map_path
from onnxprune.errors import DataError, UsageError, did_you_mean

_MODULE = "onnxprune_data_function"
_FUNCTION = re.compile(r".+\.py:[^\W\d]\w*", re.DOTALL)


def is_function(text: str) -> bool:
    """Whether a text has the form file.py:function."""
    return _FUNCTION.fullmatch(text) is not None


@contextlib.contextmanager
def loaded(text: str) -> Iterator[Callable[..., Any]]:
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
        with guard(path.name, str(path)):
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


def _function(module: types.ModuleType, name: str, file: str) -> Callable[..., Any]:
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    known = [key for key, value in vars(module).items() if isinstance(value, types.FunctionType)]
    guess = did_you_mean(name, known)
    raise UsageError(
        f"{file} has no function {name!r}", hint=f"{guess}Its functions: {', '.join(sorted(known)) or 'none'}"
    )


@contextlib.contextmanager
def guard(label: str, file: str | None) -> Iterator[None]:
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


def label_of(function: Callable[..., Any]) -> tuple[str, str | None]:
    """A callable's name, and the file that its code is in."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return str(name), os.fspath(code.co_filename) if code is not None else None
