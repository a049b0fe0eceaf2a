"""Budgets, from what users write to values: `max-size = "10MB"` is at most ten million bytes.

`max-size = "50%"` is half of what the baseline has. Everything wrong is a UsageError that says where it is written.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxprune.checking.verdicts import AGREEMENT, COSTS, DROP, ERROR, INT8, KINDS, LATENCY, MACS, METRIC, PARAMS, SIZE
from onnxprune.data import anchored
from onnxprune.errors import UsageError, did_you_mean
from onnxprune.options.declare import names
from onnxprune.options.others import Budgets
from onnxprune.results.units import listed, parse_bytes, parse_count, parse_ratio

LIMITS = {
    "max_size": SIZE,
    "max_params": PARAMS,
    "max_macs": MACS,
    "min_int8": INT8,
    "max_latency_ratio": LATENCY,
    "min_agreement": AGREEMENT,
    "max_error": ERROR,
    "min_metric": METRIC,
    "max_drop": DROP,
}
"""Key (of a file; with `-` an option) -> kind of budget."""
KEYS = names(Budgets)
RELATIVE = (LATENCY, AGREEMENT, ERROR, DROP)
"""Kinds that compare with the baseline."""
SAMPLED = (AGREEMENT, ERROR)
SCORED = (METRIC, DROP)


@dataclass(frozen=True)
class Limit:
    """At most (of agreement and metric: at least) `value`; with `of_baseline` the share of the baseline's."""

    kind: str
    value: float
    of_baseline: bool = False


@dataclass(frozen=True)
class Budget:
    """What one model may cost and must be able to do. `name` is how reports call it."""

    name: str
    path: Path
    limits: tuple[Limit, ...]
    baseline: Path | None = None
    data: Any = None
    preprocess: str | None = None

    def of(self, kinds: Collection[str]) -> tuple[Limit, ...]:
        return tuple(limit for limit in self.limits if limit.kind in kinds)

    def anchored(self) -> Budget:
        """The same with absolute paths: code of the user may change the working directory before they are read."""
        baseline = None if self.baseline is None else self.baseline.absolute()
        return replace(self, path=self.path.absolute(), baseline=baseline, data=anchored(self.data))


@dataclass(frozen=True)
class Given:
    """A value, and where it is written: "--max-size", or "pyproject.toml: [[...]] 1: max-size"."""

    value: Any
    where: str


def budget(name: str, path: Path, given: Mapping[str, Given], where: str) -> Budget:
    """The budget of a model, from values by the keys in KEYS. Raises UsageError for what is wrong or has no effect."""
    limits = tuple(_limit(kind, given[key]) for key, kind in LIMITS.items() if key in given)
    if not limits:
        raise UsageError(f"{where} has no budget.", hint=f"Give at least one of {options(LIMITS)}.")
    found = Budget(
        name,
        path,
        limits,
        Path(given["baseline"].value) if "baseline" in given else None,
        given["data"].value if "data" in given else None,
        given["preprocess"].value if "preprocess" in given else None,
    )
    _complete(found, where)
    return found


def only(found: Sequence[Budget], kinds: Sequence[str]) -> list[Budget]:
    """The budgets of some kinds; models without one are left out. Raises UsageError for an unknown kind."""
    kinds = listed(kinds)
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f"--only {kind!r} is not a kind of budget.", hint=f"Known: {', '.join(KINDS)}.")
    wanted = kinds or KINDS
    return [replace(one, limits=one.of(wanted)) for one in found if one.of(wanted)]


def options(keys: Collection[str]) -> str:
    return ", ".join(f"--{key.replace('_', '-')}" for key in keys)


def _complete(found: Budget, where: str) -> None:
    """Raise UsageError if something is missing, or has no effect."""
    relative = found.of(RELATIVE) + tuple(limit for limit in found.limits if limit.of_baseline)
    sampled, timed = found.of(SAMPLED), found.of((LATENCY,))
    if relative and found.baseline is None:
        raise UsageError(f"{where}: the budget for {relative[0].kind} needs a baseline to compare with.")
    if found.baseline is not None and not relative:
        raise UsageError(f"{where}: the baseline has no effect: no budget compares with it.")
    if sampled and found.data is None:
        raise UsageError(f"{where}: the budget for {sampled[0].kind} needs data to compare the models on.")
    if found.data is not None and not sampled and not timed:
        raise UsageError(f"{where}: the data has no effect: only latency, agreement and error are measured with it.")
    if found.preprocess is not None and found.data is None:
        raise UsageError(f"{where}: preprocess needs data: it says how images become inputs.")


def _limit(kind: str, given: Given) -> Limit:
    value = given.value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise UsageError(f"{given.where} = {value!r} is neither a number nor a text.")
    try:
        if kind in COSTS and isinstance(value, str) and value.strip().endswith("%"):
            return Limit(kind, _within(parse_ratio(value), 0, math.inf, "a share above 0"), of_baseline=True)
        return Limit(kind, _PARSERS[kind](value))
    except UsageError as error:
        raise UsageError(f"{given.where} = {value!r}: {error.message}", hint=error.hint) from error


def _within(value: float, low: float, high: float, what: str) -> float:
    if not low <= value <= high or not math.isfinite(value):
        raise UsageError(f"it must be {what}")
    return value


def _number(value: str | float) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError("not a number") from None


_PARSERS: dict[str, Callable[[Any], float]] = {
    SIZE: parse_bytes,
    PARAMS: parse_count,
    MACS: lambda value: parse_count(value, "MACs"),
    INT8: lambda value: _within(parse_ratio(value), 0, 1, "a share from 0 to 1"),
    LATENCY: lambda value: _within(parse_ratio(value), 1e-9, math.inf, "a ratio above 0"),
    AGREEMENT: lambda value: _within(parse_ratio(value), 0, 1, "a share from 0 to 1"),
    ERROR: lambda value: _within(parse_ratio(value), 0, math.inf, "a share from 0 on"),
    METRIC: lambda value: _within(_number(value), -math.inf, math.inf, "a finite number"),
    DROP: lambda value: _within(_number(value), 0, math.inf, "a number from 0 on"),
}


def check_keys(values: Mapping[str, Any], where: str) -> None:
    """Raise UsageError for an unknown key of an entry, naming the nearest one."""
    known = ("path", *KEYS)
    for key in values:
        if key not in known:
            shown = [name.replace("_", "-") for name in known]
            guess = did_you_mean(key.replace("_", "-"), shown)
            raise UsageError(f"{where} has an unknown key {key!r}.", hint=f"{guess}Known: {', '.join(shown)}")
