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
