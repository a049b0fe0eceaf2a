"""The schemas of docs/json-schema.md, and a validator for the part of JSON Schema that they use."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from cli_support import ROOT

_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "boolean": bool, "null": type(None)}
_KEYWORDS = {
    "$id", "$ref", "type", "const", "enum", "anyOf", "properties", "required", "additionalProperties", "items",
}  # fmt: skip


@cache
def schemas() -> dict[str, Any]:
    """$id -> schema"""
    text = (ROOT / "docs" / "json-schema.md").read_text("utf-8")
    found = [json.loads(block) for block in re.findall(r"^```json\n(.*?)^```", text, re.M | re.S)]
    return {schema["$id"]: schema for schema in found}


def check(document: Any) -> None:
    """Assert that a document is what its schema says."""
    _check(document, schemas()[document["schema"]], "$")


def _check(value: Any, schema: Any, where: str) -> None:
    assert not set(schema) - _KEYWORDS, f"{where}: the validator does not know {set(schema) - _KEYWORDS}"
    if "$ref" in schema:
        base, _, name = schema["$ref"].partition("#/$defs/")
        _check(value, schemas()[base]["$defs"][name], where)
    if "anyOf" in schema:
        errors = [_error(value, option, where) for option in schema["anyOf"]]
        assert None in errors, errors
    if "const" in schema:
        assert value == schema["const"], where
    if "enum" in schema:
        assert value in schema["enum"], where
    if "type" in schema:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert any(_is(value, kind) for kind in kinds), f"{where}: {value!r} is not {kinds}"
    if isinstance(value, dict):
        known = schema.get("properties", {})
        missing = set(schema.get("required", ())) - set(value)
        assert not missing, f"{where}: {missing} missing"
        for key, item in value.items():
            rest = schema.get("additionalProperties", {})
            assert key in known or rest is not False, f"{where}: unknown key {key!r}"
            _check(item, known.get(key, rest or {}), f"{where}.{key}")
    if isinstance(value, list):
        for position, item in enumerate(value):
            _check(item, schema.get("items", {}), f"{where}[{position}]")


def _error(value: Any, schema: Any, where: str) -> str | None:
    try:
        _check(value, schema, where)
    except AssertionError as error:
        return str(error)
    return None


def _is(value: Any, kind: str) -> bool:
    if kind == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if kind == "number":
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])
