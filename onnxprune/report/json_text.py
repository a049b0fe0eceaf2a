"""Documents as text, and that of an error. Neither needs numpy: see `error`."""

from __future__ import annotations

import json
import math
from typing import Any


def dumps(document: dict[str, Any]) -> str:
    """One document, ASCII only, with a line end. Numbers that JSON does not know (NaN, infinity) become null."""
    return json.dumps(_clean(document), indent=2, allow_nan=False) + "\n"


def error(kind: str, message: str, hint: str | None, exit_code: int) -> dict[str, Any]:
    """What went wrong; printed instead of the command's document.

    An interrupt in the middle of an import of numpy leaves a numpy that cannot be imported again; this still works.
    """
    return {
        "schema": "onnxprune.error/1",
        "error": {"type": kind, "message": message, "hint": hint, "exit_code": exit_code},
    }


def _clean(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):  # undecodable bytes of a path are lone surrogates, which JSON readers refuse
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(item) for item in value]
    return value
