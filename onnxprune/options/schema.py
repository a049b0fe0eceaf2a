"""The JSON schema of a configuration: editors complete and check onnxprune.toml and [tool.onnxprune] by it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from onnxprune.options.commands import COMMANDS
from onnxprune.options.declare import (
    CHOICE,
    COUNT,
    FLAG,
    NUMBER,
    SHARE,
    SOURCES,
    SWITCH,
    TEXTS,
    WIDTH,
    Entry,
    Options,
    declared,
    of_file,
)
from onnxprune.options.others import Budgets, CheckOptions

ADDRESS = "https://github.com/onnxprune/onnxprune/raw/main/docs/onnxprune.schema.json"
Schema = dict[str, Any]
_TEXTS: Schema = {"type": "array", "items": {"type": "string"}}
_NUMBER: Schema = {"type": ["number", "string"]}


def schema(commands: Iterable[type[Options]] = COMMANDS) -> Schema:
    """Keys at the top are for every command that has such an option; tables are for one command."""
    commands = tuple(commands)
    tables = {one.NAME: _table(one) for one in commands}
    shared: dict[str, list[Schema]] = {}
    for one in commands:
        for entry in of_file(one):
            shared.setdefault(entry.key, []).append(_value(entry))
    properties = {key: _any(found) for key, found in shared.items()} | tables
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": ADDRESS,
        "title": "onnxprune.toml, or [tool.onnxprune] of pyproject.toml",
        "description": "Defaults of options. A table of a command wins over keys at the top, the command line over it.",
        **_object(properties),
    }


def _table(options: type[Options]) -> Schema:
    properties = {entry.key: _value(entry) for entry in of_file(options)}
    if issubclass(options, CheckOptions):
        properties["models"] = {"type": "array", "items": _budgets()}
    return {"description": f"Defaults of onnxprune {options.NAME}.", **_object(properties)}


def _budgets() -> Schema:
    """What one model may cost: every budget is a key of its entry."""
    path = {"type": "string", "description": "The model, relative to the folder of the file.", "minLength": 1}
    found = {"path": path, **{entry.key: _value(entry) for entry in declared(Budgets)}}
    return {**_object(found), "required": ["path"]}


def _object(properties: dict[str, Schema]) -> Schema:
    """Keys may be written with `_` as well; editors offer those with `-`."""
    other = {f"^{key.replace('-', '_')}$": value for key, value in properties.items() if "-" in key}
    more = {"patternProperties": other} if other else {}
    return {"type": "object", "properties": properties, **more, "additionalProperties": False}


def _any(found: list[Schema]) -> Schema:
    """What any of the commands takes, with the words of the first one that takes it."""
    types = [{key: part for key, part in one.items() if key not in ("description", "default")} for one in found]
    different = [one for number, one in enumerate(found) if types[number] not in types[:number]]
    return different[0] if len(different) == 1 else {"anyOf": different}


def _value(entry: Entry) -> Schema:
    known = {"description": entry.spec.help.replace("; see below", "").replace(" Repeatable.", "")}
    if entry.line_default not in (None, ()):
        known["default"] = entry.line_default
    return {**_type(entry), **known}


def _type(entry: Entry) -> Schema:
    if entry.kind == CHOICE:
        names: Schema = {"enum": list(entry.choices)}
        return {"anyOf": [names, {"type": "array", "items": names}]} if entry.several else names
    if entry.kind in (FLAG, SWITCH):
        return {"type": "boolean"}
    if entry.kind == COUNT:
        limits = {"minimum": entry.spec.least, "maximum": entry.spec.most}
        return {"type": "integer", **{key: limit for key, limit in limits.items() if limit is not None}}
    if entry.kind == WIDTH:
        return {"anyOf": [{"type": "integer", "minimum": entry.spec.least}, {"type": "string"}]}
    if entry.kind in (NUMBER, SHARE):
        return dict(_NUMBER)
    if entry.kind in (TEXTS, SOURCES):
        return {"anyOf": [{"type": "string"}, _TEXTS]}
    if entry.spec.names:  # editors offer these; others may have been registered
        return {"anyOf": [{"enum": list(entry.spec.names)}, {"type": "string"}]}
    return {"type": ["string", "number"]} if entry.parts[0] is not str or len(entry.parts) > 1 else {"type": "string"}
