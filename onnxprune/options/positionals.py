"""Whether what functions take by position (models, files, a node) is of a type that they take."""

from __future__ import annotations

import inspect
import os
from typing import Any

from onnx import ModelProto

from onnxprune.errors import UsageError
from onnxprune.model.load import Model, load
from onnxprune.model.sources import Beside
from onnxprune.options.checked import has_nul, shown

_BYTES = (bytes, bytearray, memoryview)
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "Path": (os.PathLike,),
    "Model": (Model, ModelProto, *_BYTES),
    "Beside": (Beside,),
    "None": (type(None),),
}
_WORDS = {"Path": "a path", "Model": "a Model of load", "None": "None"}


def positional(name: str, hint: str, value: Any) -> Any:
    """The value, if it is of the annotation `hint`; a model in bytes is read. Raises UsageError.

    >>> positional("out", "str | Path | None", "m.onnx")
    'm.onnx'
    """
    parts = hint.split(" | ")
    if not isinstance(value, tuple(one for part in parts for one in _TYPES[part])) or _is_bytes_path(value):
        said = ["a text"] if parts == ["str"] else [_WORDS[part] for part in parts if part in _WORDS]
        raise UsageError(f"{name} is {' or '.join(said)}, found {shown(value)}")
    if has_nul(value):
        raise UsageError(f"{name} holds a NUL character, which no path and no name has: {shown(value)}")
    if isinstance(value, ModelProto):
        return load(value)
    return load(bytes(value)) if isinstance(value, _BYTES) else value


def check_positionals(call: inspect.BoundArguments) -> None:
    """All of a call, those of `*models` one by one. Raises UsageError."""
    for name, parameter in call.signature.parameters.items():
        if name not in call.arguments or parameter.kind is parameter.KEYWORD_ONLY:
            continue
        value, hint = call.arguments[name], parameter.annotation
        several = parameter.kind is parameter.VAR_POSITIONAL
        call.arguments[name] = (
            tuple(positional(name, hint, one) for one in value) if several else positional(name, hint, value)
        )


def _is_bytes_path(value: Any) -> bool:
    return isinstance(value, os.PathLike) and not isinstance(os.fspath(value), str)
