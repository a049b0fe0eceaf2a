"""Of choices that come down to a measured cost, the one of which least left."""

from __future__ import annotations

import itertools

from onnxprune.choose.budget import aim


def test_noise_does_not_pay_for_what_leaves_in_vain() -> None:
    """Below a limit of 44 nothing is gained any more, and what is measured there goes up and down."""
    noise = itertools.cycle([0.0, 0.3, 0.1])
    asked: list[tuple[float, float]] = []

    def actual(limit: float) -> float:
        cost = limit + 1.5 if limit > 44 else 43.0 + next(noise)
        asked.append((limit, cost))
        return cost

    found, cost = aim(45.0, lambda limit: limit, actual, start=40.0, most=100.0, below=0.001)
    fitting = [pair for pair in asked if pair[1] <= 45.0]
    assert (found, cost) == max(fitting) and len({limit for limit, _ in fitting}) > 1


def test_the_least_if_none_comes_down_to_it() -> None:
    found, cost = aim(1.0, lambda limit: limit, lambda limit: 2.0 + limit, start=0.9, most=1.0, below=0.1)
    assert cost == 2.0 + found > 1.0
