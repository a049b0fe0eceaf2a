"""Sessions of models with sparse operators get the library by themselves (onnxprune/native)."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from onnx import FunctionProto, ModelProto, OperatorSetIdProto

from onnxprune import native
from onnxprune.errors import ModelError, UsageError
from onnxprune.model import wire
from onnxprune.model.container import map_file, open_regular
from onnxprune.native.marks import DOMAIN, is_marked

_OPSET_IMPORT, _FUNCTIONS = 8, 25


class Operators(Enum):
    """How operators of the domain `onnxprune` run in sessions made here: by the library, by their functions as the
    library is missing, or by their functions as onnxprune did not write them.
    """

    NONE = "none"
    LIBRARY = "library"
    FALLBACK = "fallback"
    FOREIGN = "foreign"


def operators_of(model: ModelProto | Path) -> Operators:
    """Whether a model has such operators, and what becomes of them. Of a file, no weights are read; one that cannot be
    read has none.
    """
    imports, functions = _declared(model) if isinstance(model, ModelProto) else _scanned(model)
    if DOMAIN not in imports:
        return Operators.NONE
    if not all(is_marked(function) for function in functions if function.domain == DOMAIN):
        return Operators.FOREIGN
    return Operators.FALLBACK if native.problem() else Operators.LIBRARY


def equip(options: Any, model: ModelProto | Path) -> None:
    """Register the library with the SessionOptions if the model has operators for it."""
    if operators_of(model) is Operators.LIBRARY:
        native.register(options)


def remark(name: str, model: ModelProto | Path) -> str | None:
    """What a reader should know of the speed of a model with such operators; None of any other."""
    if operators_of(model) is Operators.LIBRARY:
        return (
            f"{name} has sparse operators: run by onnxprune's library ({native.instruction_set()}); "
            "sessions without it run the dense functions in the file"
        )
    return missing(name, model)


def missing(name: str, model: ModelProto | Path) -> str | None:
    """Why such operators of a model did not run by the library; None if there are none, or they did."""
    match operators_of(model):
        case Operators.FALLBACK:
            return f"{name} has sparse operators, which ran by the dense functions in the file: {native.problem()}"
        case Operators.FOREIGN:
            return f"{name} has functions of the domain {DOMAIN} that onnxprune did not write: they ran as they are"
    return None


def _declared(model: ModelProto) -> tuple[set[str], list[FunctionProto]]:
    return {entry.domain for entry in model.opset_import}, list(model.functions)


def _scanned(path: Path) -> tuple[set[str], list[FunctionProto]]:
    model = ModelProto()
    try:
        buffer = map_file(open_regular(path))
        for item in wire.fields(buffer, 0, len(buffer), "the model"):
            if item.number == _OPSET_IMPORT and item.wire == wire.LENGTH:
                model.opset_import.append(OperatorSetIdProto.FromString(bytes(buffer[item.value : item.end])))
            elif item.number == _FUNCTIONS and item.wire == wire.LENGTH:
                model.functions.append(FunctionProto.FromString(bytes(buffer[item.value : item.end])))
    except (ModelError, UsageError, DecodeError):  # whoever opens the session says it better
        return set(), []
    return _declared(model)
