"""How much has left after each step of a removal in steps.

| schedule | share that has left after step t of n, if S leaves in all | |
| --- | --- | --- |
| one-shot | S at once | |
| linear | S t/n | the same every time |
| exp | 1 - (1 - S)^(t/n) | the same share of what is left every time (Han et al., NeurIPS 2015) |
| cos | S (1 - cos(pi t/n)) / 2 | little at the beginning and at the end |
| cube | S (1 - (1 - t/n)^3) | much at the beginning, little at the end (Zhu & Gupta, 2017) |
"""

from __future__ import annotations

import math
from collections.abc import Callable

from onnxprune.errors import UsageError

ONE_SHOT = "one-shot"
DEFAULT_STEPS = 3
_SHARES: dict[str, Callable[[float, float], float]] = {
    "linear": lambda whole, t: whole * t,
    "exp": lambda whole, t: 1.0 - (1.0 - whole) ** t,
    "cos": lambda whole, t: whole * (1.0 - math.cos(math.pi * t)) / 2.0,
    "cube": lambda whole, t: whole * (1.0 - (1.0 - t) ** 3),
}
SCHEDULES = (ONE_SHOT, *_SHARES)


def shares(schedule: str, whole: float, steps: int) -> list[float]:
    """What has left after every step, 0 <= share <= 1, never falling; the last is `whole`."""
    if schedule == ONE_SHOT:
        return [whole]
    return [*(_SHARES[schedule](whole, t / steps) for t in range(1, steps)), whole]


def resolved(schedule: str | None, steps: int | None) -> tuple[str, int]:
    """The schedule and its number of steps; linear if only steps are given. Raises UsageError."""
    if steps is not None and steps < 1:
        raise UsageError(f"--steps is at least 1, found {steps}")
    name = schedule if schedule is not None else ONE_SHOT if steps in (None, 1) else "linear"
    if name not in SCHEDULES:
        raise UsageError(f"--schedule is {', '.join(SCHEDULES[:-1])} or {SCHEDULES[-1]}, found {name!r}")
    if name != ONE_SHOT:
        return name, DEFAULT_STEPS if steps is None else steps
    if steps not in (None, 1):
        raise UsageError(f"--schedule {ONE_SHOT} has one step, found --steps {steps}", hint="Leave out one of them.")
    return name, 1
