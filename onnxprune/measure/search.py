"""How far can one go? Bisection over a strength between 0 and 1, for the strongest that loses no more than allowed.

A loss that grows with the strength is assumed, but not relied on: whatever the losses are, the answer is one that was
evaluated and stays within the bound.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onnxprune.errors import UsageError

STEPS = 7  # the answer is then within 1/64 of the best one


@dataclass(frozen=True)
class Point:
    """What a strength cost."""

    strength: float
    drop: float


@dataclass(frozen=True)
class Search:
    """`points` in the order in which they were evaluated; `best` is None if none of them stays within the bound."""

    points: tuple[Point, ...]
    max_drop: float
    best: Point | None

    @property
    def mildest(self) -> Point:
        """The point of the least strength."""
        return min(self.points, key=lambda point: point.strength)


def strongest(evaluate: Callable[[float], float], max_drop: float, steps: int = STEPS, *, first: float = 1.0) -> Search:
    """Call `evaluate` (strength -> drop) at most `steps` times: at `first`, then by halves. A drop of NaN is too much.

    Strength 0 stands for no change and is never evaluated. Raises UsageError unless max_drop >= 0 and steps >= 1.
    """
    if not max_drop >= 0:
        raise UsageError(f"--max-drop must be at least 0, found {max_drop}")
    if steps < 1:
        raise UsageError(f"a search of {steps} steps")
    points: list[Point] = []
    low, high, strength = 0.0, 1.0, first
    for _ in range(steps):
        points.append(Point(strength, float(evaluate(strength))))
        if points[-1].drop <= max_drop:
            low = strength
            if low == 1.0:
                break
        else:
            high = strength
        strength = (low + high) / 2
    within = [point for point in points if point.drop <= max_drop]
    return Search(tuple(points), max_drop, max(within, key=lambda point: point.strength, default=None))
