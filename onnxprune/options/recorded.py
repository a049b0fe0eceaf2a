"""Whether what a plan says of its options is of the types that they have: whoever reads a plan relies on it.

Only types: which criterion it was, or which names there are, may differ from version to version.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from onnxprune.options.declare import Entry, Options, declared
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions

NESTED = "sparsity"
"""Of a network that lost channels and became sparse: the options of the latter, as an object."""
_WORDS: dict[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list of texts",
    type(None): "null",
    dict: "an object",
}
"""Types of JSON values, in words."""


def kind(value: Any) -> str:
    """What a value read from JSON is, in words."""
    return {list: "a list", int: "a number"}.get(type(value)) or _WORDS[type(value)]


def misfits(given: Mapping[str, Any], where: str = "options") -> Iterator[str]:
    """What is wrong with them, in words, with the place. Names that are no options here are left alone.

    >>> list(misfits({"steps": "two"}))
    ['options.steps must be a whole number or null, found a text']
    """
    for name, value in given.items():
        if name == NESTED and isinstance(value, dict) and where == "options":
            yield from misfits(value, f"{where}.{NESTED}")
            continue
        entry = _entries().get(name)
        if entry is not None:
            yield from _misfit(f"{where}.{name}", value, entry)


def _misfit(place: str, value: Any, entry: Entry) -> Iterator[str]:
    allowed = _types(entry)
    if not _is(value, allowed):
        words = [_WORDS[one] for one in _WORDS if one in allowed]
        yield f"{place} must be {' or '.join(words)}, found {kind(value)}"
    elif isinstance(value, list):
        wrong = ((index, one) for index, one in enumerate(value) if not isinstance(one, str))
        yield from (f"{place}[{index}] must be a text, found {kind(one)}" for index, one in wrong)


def _is(value: Any, allowed: Iterable[type]) -> bool:
    """Whole numbers are numbers; true is none."""
    return type(value) in allowed or (type(value) is int and float in allowed)


def _types(entry: Entry) -> set[type]:
    """As JSON has them; a name of several is a text."""
    found: set[type] = set()
    for part in (*entry.parts, *((type(None),) if type(None) in get_args(entry.type) else ())):
        origin = get_origin(part)
        found.add(str if origin is Literal else list if origin is Sequence else part)
    return found


@functools.cache
def _entries() -> dict[str, Entry]:
    both: tuple[type[Options], ...] = (SparsifyOptions, ShrinkOptions)
    return {one.name: one for options in both for one in declared(options) if one.spec.recorded}
