"""What `bench` is asked for, from the words of the command line to values. Everything wrong is a UsageError."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from onnxprune.benching.results import Setting
from onnxprune.errors import UsageError

MOST_BATCH = 1 << 20
_SIZE = re.compile("[1-9][0-9]{0,8}", re.ASCII)

Sizes = dict[str, tuple[int, ...]]


def positive_list(text: str | int | Sequence[int], option: str, most: int = MOST_BATCH) -> tuple[int, ...]:
    """`1,8,32`, a number, or a sequence of numbers, each from 1 to `most`; none twice."""
    parts = text.split(",") if isinstance(text, str) else [text] if isinstance(text, int) else list(text)
    found = []
    for part in parts:
        try:
            value = int(part)
        except (TypeError, ValueError):
            value = 0
        if value > most:
            raise UsageError(f"{option} takes numbers up to {most}, found {value}")
        if value < 1 or isinstance(part, bool):
            raise UsageError(f"{option} takes numbers from 1 on, such as 1,8; found {text!r}")
        found.append(value)
    return tuple(dict.fromkeys(found))


def shapes(items: Iterable[str] | Mapping[str, Sequence[int] | int]) -> Sizes:
    """`x=1x3x224x224` (an input), `sequence=64` (a symbolic size, or an input of one axis): name -> sizes."""
    pairs = items.items() if isinstance(items, Mapping) else [_shape(item) for item in items]
    found: Sizes = {}
    for name, sizes in pairs:
        if name in found:
            raise UsageError(f"--shape gives {name!r} twice")
        found[name] = (sizes,) if isinstance(sizes, int) else tuple(int(size) for size in sizes)
        if any(size < 1 for size in found[name]):
            raise UsageError(f"--shape {name}: sizes are numbers from 1 on")
    return found


def _shape(item: str) -> tuple[str, tuple[int, ...]]:
    name, _, text = item.rpartition("=")
    parts = re.split("[x,]", text)
    if not name or not all(_SIZE.fullmatch(part) for part in parts):
        raise UsageError(
            f"--shape takes INPUT=1x3x224x224, or SYMBOL=64 for a symbolic size; found {item!r}",
            hint="onnxprune inspect MODEL names the symbolic sizes in its JSON.",
        )
    return name, tuple(int(part) for part in parts)


def limit(value: str | float | None) -> float | None:
    """`5%` or 0.05: a share from 0 on."""
    if value is None:
        return None
    text = str(value).strip()
    try:
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share < float("inf"):
        raise UsageError(f"--fail-above takes a share such as 5% or 0.05, found {value!r}")
    return share


def settings(threads: Sequence[int], batches: Sequence[int] | None, names: Sequence[str]) -> tuple[Setting, ...]:
    """Every combination."""
    return tuple(Setting(t, b, p) for p in names for t in threads for b in (batches or (None,)))
