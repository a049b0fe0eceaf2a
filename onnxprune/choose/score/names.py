"""What every list of criteria or methods needs: one entry per name, a first line of docstring, a guess at typos."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from onnxprune.errors import UsageError, nearest

Entry = TypeVar("Entry")


def add(registry: dict[str, Entry], what: str, name: str, function: object, make: Callable[[str], Entry]) -> None:
    """Enter `make(doc)` as `name`, a `what` (criterion, mask method); doc: the first line of the function's docstring.

    A duplicate is an error.
    """
    if name in registry:
        raise ValueError(f"{what} {name!r} is registered twice")
    doc = (function.__doc__ or "").strip().partition("\n")[0]
    if not doc and sys.flags.optimize < 2:  # -OO strips docstrings
        raise ValueError(f"{what} {name!r} has no docstring")
    registry[name] = make(doc)


def find(registry: Mapping[str, Entry], what: str, name: str, known: Sequence[str]) -> Entry:
    """The entry `name`; UsageError with the nearest name and the list `known` if there is none."""
    if name in registry:
        return registry[name]
    near = nearest(name.lower().replace("_", "-"), known)
    guess = f"did you mean {near[0]}? " if near else ""
    raise UsageError(f"unknown {what} {name!r}", hint=f"{guess}known: {', '.join(known)}")
