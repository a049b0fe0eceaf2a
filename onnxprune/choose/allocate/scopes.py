"""The allocators by name. An allocator is a function of (groups, ratio); options of its own have defaults."""

from __future__ import annotations

from onnxprune.choose.allocate.global_ import global_
from onnxprune.choose.allocate.groups import Allocator
from onnxprune.choose.allocate.local import local
from onnxprune.errors import UsageError

SCOPES: dict[str, Allocator] = {"local": local, "global": global_}


def scope(name: str) -> Allocator:
    """The allocator `name`; UsageError with the list if there is none."""
    if name not in SCOPES:
        raise UsageError(f"unknown scope {name!r}", hint=f"known: {', '.join(SCOPES)}")
    return SCOPES[name]
