"""The points of a sweep: every amount with every criterion, checked before anything is run."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from onnxprune.choose.request import AUTO, resolve
from onnxprune.errors import UsageError
from onnxprune.options.declare import names, shared
from onnxprune.options.running import Samples
from onnxprune.options.shrinking import ShrinkOptions, SweepOptions
from onnxprune.results.units import parse_ratio
from onnxprune.sparsifying.request import resolve_stage
from onnxprune.sweeping.results import Point

TARGETS = ("macs=75%", "macs=50%", "macs=25%")
"""What is asked for if nothing is."""
SHARED = tuple(shared(ShrinkOptions, SweepOptions))
"""Options of `shrink` that all points have."""


def points_of(asked: SweepOptions) -> tuple[Point, ...]:
    """All combinations, none twice, in the order given. Raises UsageError for what `shrink` would refuse without
    looking at a model.
    """
    shares = [parse_ratio(text) for text in _list(asked.ratios)]
    amounts: list[tuple[float | None, str | None]] = [(share, None) for share in shares]
    amounts += [(None, text) for text in _list(asked.targets)]
    if not amounts:
        amounts = [(None, text) for text in TARGETS]
    found: dict[tuple[Any, ...], Point] = {}
    for ratio, target in amounts:
        if ratio is not None and not 0 <= ratio < 1:
            raise UsageError(f"--ratios are shares from 0 to below 1, found {ratio:g}")
        for criterion in _list(asked.criteria) or [None]:
            one = of_point(asked, ratio=ratio, target=target, criterion=criterion)
            request = resolve(one)
            resolve_stage(request, one)
            name = None if asked.units == "blocks" else request.options.criterion
            key = (ratio, target, name)
            if key not in found:
                found[key] = Point(_name(ratio, target, name, found.values()), ratio, target, name)
    return tuple(found.values())


def of_point(asked: SweepOptions, *, ratio: float | None, target: str | None, criterion: str | None) -> ShrinkOptions:
    """What `shrink` is asked for at a point: an amount and a criterion, and what all points have."""
    common = {name: getattr(asked, name) for name in (*SHARED, *names(Samples))}
    return ShrinkOptions(ratio=ratio, target=target, criterion=criterion, **common)


def measures(points: Sequence[Point], asked: SweepOptions) -> bool:
    """Whether what leaves depends on times that are measured: nothing else may run then, and not elsewhere."""
    timed = any(one.target is not None and one.target.strip().startswith("latency") for one in points)
    return timed or AUTO in (asked.multiple_of, asked.pattern)


def _list(values: Any) -> list[Any]:
    """`0.2,0.4`, or a sequence; blanks around are ignored."""
    if isinstance(values, str):
        values = values.split(",") if values.strip() else []
    elif isinstance(values, (int, float)):
        values = [values]
    found = [value.strip() if isinstance(value, str) else value for value in values]
    if "" in found:
        raise UsageError(f"an entry of the list is empty: {values!r}")
    return list(dict.fromkeys(found))


def _name(ratio: float | None, target: str | None, criterion: str | None, taken: Any) -> str:
    """A file name for a point: letters, digits and `-._` only, unlike any other."""
    amount = f"ratio-{ratio:g}" if target is None else target.replace("%", "pct")
    text = re.sub(r"[^A-Za-z0-9._-]+", "-", f"{amount}-{criterion or 'blocks'}").strip("-.")[:80]
    names = {one.name.lower() for one in taken}  # some file systems do not tell case apart
    number, name = 2, text
    while name.lower() in names:
        name, number = f"{text}-{number}", number + 1
    return name
