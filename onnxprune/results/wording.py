"""Words that depend on how many there are, and names that are too long to be read."""

from __future__ import annotations

import os
import re


def counted(count: int, verb: str) -> str:
    """A number and what its things do: "1 stays", "2 stay"."""
    return f"{count} {verb}{'s' if count == 1 else ''}"


def of_several(reason: str, count: int) -> str:
    """A reason that was said of one thing, said of `count`: "its shape is unknown", "their shape is unknown"."""
    if count != 1:
        for one, many in _MANY:
            if reason.startswith(one):
                return many + reason[len(one) :]
    return reason


_MANY = (
    ("its ", "their "),
    ("it is ", "they are "),
    ("it has ", "they have "),
    ("it belongs ", "they belong "),
    ("it would ", "they would "),
)


def shortened(name: str, most: int = 60) -> str:
    """A name that some exporter made of many, cut in the middle so that lines stay readable; of its end, which tells it
    from others, more stays. JSON has it whole.
    """
    if len(name) <= most:
        return name
    start = most // 3 - 1
    return f"{name[:start]}...{name[start + 3 - most :]}"


def readable(text: str, most: int = 60) -> str:
    """`text` with all its words `shortened`, but for paths of files: those are there to be copied."""
    if len(text) <= most:
        return text
    return _WORD.sub(lambda word: word[0] if _is_path(word[0]) else shortened(word[0], most), text)


_WORD = re.compile(r"\S+")


def _is_path(word: str) -> bool:
    """Whether the first folder of what may be a path exists."""
    path = word.strip("'\"(),:;").rstrip(".")
    first, *rest = path.removeprefix("/").split("/")
    return bool(rest) and os.path.lexists(f"/{first}" if path.startswith("/") else first)
