"""The user's own code: `file.py:function`, or a callable.

It runs in this process, only because the command line or the caller named it; what it prints goes to stderr; no
bytecode is written next to the file; what it raises becomes a DataError with its line. A working directory that it
changes is its own: it finds it again when it is called again, and ours is as before in between.
"""

from __future__ import annotations

import contextlib
import inspect
import os
import re
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.data.npy import map_path
from onnxprune.errors import DataError, UsageError, did_you_mean

_MODULE = "onnxprune_data_function"
_FUNCTION = re.compile(r".+\.py:[^\W\d]\w*", re.DOTALL)


def is_function(text: str) -> bool:
    """Whether a text has the form file.py:function."""
    return _FUNCTION.fullmatch(text) is not None


@dataclass
class Code:
    """A function of the user, and what errors call it. `file`: where its code is; `directory`: the working directory
    that it has left, None if that is ours.
    """

    label: str
    file: str | None
    function: Callable[..., Any] | None = None
    directory: str | None = None

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns. Raises DataError if it raises, or is a coroutine function."""
        assert self.function is not None
        with self.running():
            result = self.function(*arguments)
        if inspect.iscoroutine(result):
            result.close()  # or Python warns that nothing has awaited it
        elif not inspect.isasyncgen(result):
            return result
        raise DataError(
            f"{self.label} is a coroutine function, and nothing here would await it",
            hint="Write def instead of async def; what has to be awaited goes into asyncio.run(...).",
        )

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run code of the user: whatever it raises becomes a DataError with its message and line."""
        ours = _working_directory()
        _enter(self.directory)
        with contextlib.redirect_stdout(sys.stderr):
            try:
                yield
            except (Exception, SystemExit) as error:
                text = f"{type(error).__name__}: {error}"
                raise DataError(f"{self.label} failed{_line(error, self.file)}: {text}") from error
            finally:
                theirs = _working_directory()
                self.directory = None if theirs == ours else theirs
                if theirs != ours:
                    _enter(ours)


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return None


def _enter(directory: str | None) -> None:
    """Change the working directory, if it is still there. Where results go does not depend on it: their paths are
    absolute.
    """
    if directory is not None:
        with contextlib.suppress(OSError):
            os.chdir(directory)


@contextlib.contextmanager
def loaded(text: str) -> Iterator[Code]:
    """The function of `file.py:function`, while the file's folder is importable.

    Raises UsageError if file or function do not exist, DataError if the file cannot be executed.
    """
    name, _, function = text.rpartition(":")
    path = Path(name)
    source = bytes(map_path(path))
    module = types.ModuleType(_MODULE)
    module.__file__ = str(path.absolute())  # it may change the working directory
    code = Code(path.name, module.__file__)
    before = sys.dont_write_bytecode, sys.modules.get(_MODULE)
    folder = str(path.resolve().parent)
    sys.dont_write_bytecode, sys.modules[_MODULE] = True, module
    sys.path.insert(0, folder)
    try:
        with code.running():
            exec(compile(source, module.__file__, "exec", dont_inherit=True), module.__dict__)
        code.label, code.function = Path(text).name, _function(module, function, path.name)
        yield code
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


def _line(error: BaseException, file: str | None) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f" in line {error.lineno}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if file in (None, frame.filename)]
    if not frames or frames[-1].filename == __file__:
        return ""
    text = f" ({frames[-1].line})" if frames[-1].line else ""
    return f" in line {frames[-1].lineno}{text}"


def code_of(function: Callable[..., Any]) -> Code:
    """A callable, with its name and the file that its code is in."""
    code = getattr(function, "__code__", None)
    name = getattr(function, "__name__", type(function).__name__)
    return Code(str(name), os.fspath(code.co_filename) if code is not None else None, function)


def anchored(source: Any) -> Any:
    """`source`, which names data or a metric, with absolute paths: other code may change the working directory before
    it is opened. What does not exist stays as it is written, for the error that follows.
    """
    if isinstance(source, (str, os.PathLike)):
        return _anchored(os.fspath(source))
    if isinstance(source, Sequence) and all(isinstance(item, (str, os.PathLike)) for item in source):
        return [_anchored(os.fspath(item)) for item in source]
    return source


def _anchored(text: str) -> str:
    """`calib.npz`, `file.py:function`, or `x=a.npy`, where the name before it may hold "=", too."""
    if text == "random":
        return text
    if os.path.lexists(text):
        return str(Path(text).absolute())
    file, _, function = text.rpartition(":")
    if is_function(text) and os.path.lexists(file):
        return f"{Path(file).absolute()}:{function}"
    for equals in (match.end() for match in re.finditer("=", text)):
        if os.path.lexists(text[equals:]):
            return text[:equals] + str(Path(text[equals:]).absolute())
    return text
