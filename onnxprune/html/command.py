"""The command that does the same again, from the arguments of a function of the API: options have the same names."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RENAMED = {"threads": "jobs"}
SILENT = {"force", "progress", "verify", "report"}  # say nothing about the result, or are not on the command line
UNKNOWN = "IN-PYTHON"


def command(name: str, files: Sequence[Any], options: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """`onnxprune NAME ...`, quoted for a shell: paths as they were given, options that are not the default.

    What is an object in Python and has no path (an array, a function, a plan) is IN-PYTHON there.
    """
    words = ["onnxprune", name, *(_word(file) for file in files)]
    for key, value in options.items():
        if key in SILENT or value is None or _same(value, defaults.get(key)):
            continue
        flag = f"--{RENAMED.get(key, key).replace('_', '-')}"
        if value is True:
            words.append(flag)
        else:
            for one in _values(value):
                words += [flag, _word(one)]
    return " ".join(map(shlex.quote, words))


def _same(value: Any, default: Any) -> bool:
    if isinstance(value, (str, int, float, bool, tuple, list)):
        return str(value) == str(default) or (value in ((), []) and default in (None, ()))
    return False


def _values(value: Any) -> list[Any]:
    """A value that stands for several options: one each."""
    if isinstance(value, Mapping):
        return [f"{key}={_word(one)}" for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return list(value)
    return [value]


def _word(value: Any) -> str:
    if isinstance(value, (str, int, float, os.PathLike)):
        return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
    path = getattr(value, "path", None)
    return str(path) if isinstance(path, Path) else UNKNOWN
