"""Whether values are what their options take: what a function is called with, before anything is done."""

from __future__ import annotations

import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from onnxprune.errors import UsageError, did_you_mean
from onnxprune.options.declare import SIZE, SOURCES, Entry, Unseen
from onnxprune.results.units import parse_bytes

_EXPECTED: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    Path: "a path",
    type(None): "None",
    Callable: "a function",
    Mapping: "a mapping",
}
_SAMPLES = "a path, texts, a mapping of arrays, an array, a function or a Calibration"
_SHOWN = 100
_SEVERAL: dict[Any, str] = {str: "texts", int: "whole numbers", float: "numbers"}


def checked(entry: Entry, value: Any) -> Any:
    """The value, as its type has it (a NumPy integer is an int). Raises UsageError saying what was expected."""
    if get_origin(entry.parts[0]) is Sequence:
        if isinstance(value, str):
            value = (value,)  # one by itself is not its letters
        elif isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)) and _has_axes(value):
            value = tuple(value)
    found = _samples(value) if entry.type is Any and entry.kind == SOURCES else _fitting(value, entry.type)
    if found is _NOT:
        guess = did_you_mean(value, entry.choices).rstrip() if isinstance(value, str) and entry.choices else ""
        raise UsageError(f"{entry.flag} is {expected(entry)}, found {shown(value)}", hint=guess or None)
    if has_nul(found):
        raise UsageError(f"{entry.flag} holds a NUL character, which no path and no name has: {shown(value)}")
    least, most = entry.spec.least, entry.spec.most
    if least is not None and isinstance(found, int) and found < least:
        raise UsageError(f"{entry.flag} must be at least {least}, not {found}")
    if most is not None and isinstance(found, int) and found > most:
        raise UsageError(f"{entry.flag} must be at most {most}, not {found}")
    if entry.kind == SIZE:
        _check_size(found, entry.flag)
    return found


def _check_size(value: str | int, flag: str) -> None:
    """As `checked_size`; the option is named in any case."""
    try:
        parse_bytes(value)
    except UsageError as error:
        raise UsageError(f"{flag} is {error.message}", hint=error.hint) from error
    checked_size(value, flag)


def checked_size(value: str | int, name: str) -> int:
    """Bytes of an option that limits what is taken. Raises UsageError for what is no size, or nothing."""
    found = parse_bytes(value)
    if found <= 0:
        raise UsageError(f"{name} must be more than nothing, found {value!r}")
    return found


def shown(value: Any) -> str:
    """A value in a message: on one line, and not all of it if it is long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def has_nul(value: Any) -> bool:
    """Whether a text or a path has a character that no file system takes."""
    return isinstance(value, (str, os.PathLike)) and "\0" in str(value)


def expected(entry: Entry) -> str:
    """What a value may be, in words."""
    if entry.type is Any:
        return _SAMPLES
    said = [name for one in entry.parts for name in _words(one)]
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} or {said[-1]}"


def _words(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(one) for one in get_args(hint)]
    origin = get_origin(hint)
    if origin is Sequence:
        inner = get_args(hint)[0]
        union = get_origin(inner) in (Union, types.UnionType)
        parts = [_SEVERAL.get(one) or ", ".join(_words(one)) for one in (get_args(inner) if union else (inner,))]
        return [f"a list of {' or '.join(parts)}"]
    kind = origin or hint
    return [_EXPECTED.get(kind) or f"a {kind.__name__}"]


_NOT: Any = object()


def _fitting(value: Any, hint: Any) -> Any:
    """The value if it fits, as a plain one; otherwise _NOT."""
    origin = get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        found = (_fitting(value, one) for one in get_args(hint))
        return next((one for one in found if one is not _NOT), _NOT)
    if origin is Literal:
        return str(value) if isinstance(value, str) and value in get_args(hint) else _NOT
    if origin is Sequence:
        return _sequence(value, get_args(hint)[0])
    return _plain(value, origin or hint)


def _sequence(value: Any, inner: Any) -> Any:
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return _NOT
    found = tuple(_fitting(one, inner) for one in value)
    return _NOT if any(one is _NOT for one in found) else found


def _has_axes(value: Any) -> bool:
    """Whether it can be gone through: an array of no axes looks as if."""
    return getattr(value, "ndim", 1) > 0


def _samples(value: Any) -> Any:
    """Where samples come from, if it is any of that; otherwise _NOT. What is in it is for those who read it to say."""
    if value is None or isinstance(value, (os.PathLike, Mapping)) or callable(value):
        return value
    if isinstance(value, str):
        return str(value)  # a text of NumPy is an array, too
    if hasattr(value, "__array__") or "Calibration" in [base.__name__ for base in type(value).__mro__]:
        return value
    texts = isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray, memoryview)) and len(value) > 0
    return value if texts and all(isinstance(one, (str, os.PathLike)) for one in value) else _NOT


def _plain(value: Any, kind: Any) -> Any:
    truth = isinstance(value, bool) or (type(value).__module__ == "numpy" and type(value).__name__ in ("bool", "bool_"))
    if kind is bool:
        return bool(value) if truth else _NOT
    if truth:
        return _NOT
    if kind is float:
        return _number(value)
    if kind is int:
        return int(value) if isinstance(value, Integral) else _NOT
    if kind is str:
        return str(value) if isinstance(value, str) else _NOT
    if kind is Path:
        return value if isinstance(value, os.PathLike) and isinstance(os.fspath(value), str) else _NOT
    if kind is Callable:
        return value if callable(value) else _NOT
    if kind is Mapping:
        return value if isinstance(value, Mapping) else _NOT
    if issubclass(kind, Unseen):
        return value if kind.__name__ in [base.__name__ for base in type(value).__mro__] else _NOT
    return value if isinstance(value, kind) else _NOT


def _number(value: Any) -> Any:
    """A number that a float can hold, or _NOT. Whole ones stay whole."""
    try:
        found = float(value) if isinstance(value, Real) else _NOT
    except OverflowError:
        return _NOT
    return value if isinstance(value, (int, float)) and found is not _NOT else found
