"""The file of `--log-file`: opened before anything is done, and never one that holds something else."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from onnxprune.errors import OutputError, UsageError

_LINE = re.compile(rb"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  ")
_STAMP = "%Y-%m-%d %H:%M:%S"


def open_log(path: Path, command: str, others: Mapping[str, Any]) -> IO[str]:
    """The file, to be written on at its end, with a line that the run begins.

    Raises UsageError if one of the `other` parameters names it too, or it cannot be opened, and OutputError for a file
    that is there and no such log.
    """
    other = next((text for text in _named(others) if _same(path, text)), None)
    if other is not None:
        raise UsageError(f"--log-file names {str(path)!r}, which the command names for something else.")
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise UsageError(f"--log-file {str(path)!r} is not a regular file.")
        with open(path, "rb") as there:
            begins = there.read(32)
    except FileNotFoundError:
        begins = b""
    except OSError as error:
        raise UsageError(f"--log-file {str(path)!r} cannot be opened: {error.strerror or error}.") from error
    if begins and not _LINE.match(begins):
        raise OutputError(
            f"--log-file {str(path)!r} is there, and is no log of onnxprune.", hint="Lines are added to a log only."
        )
    try:
        file = open(path, "a", encoding="utf-8", errors="backslashreplace")  # noqa: SIM115
        file.write(f"{time.strftime(_STAMP)}  onnxprune {command}: process {os.getpid()}\n")
        file.flush()
    except OSError as error:
        raise UsageError(f"--log-file {str(path)!r} cannot be opened: {error.strerror or error}.") from error
    return file


def _named(params: Mapping[str, Any]) -> Iterator[str]:
    """What may be a file."""
    for value in params.values():
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, (str, os.PathLike)):
                text = os.fspath(one)
                yield from (name for name in (text, text.partition("=")[2], text.rpartition(":")[0]) if name)


def _same(path: Path, other: str) -> bool:
    try:
        return os.path.samefile(path, other)
    except (OSError, ValueError):
        return os.path.abspath(path) == os.path.abspath(other)
