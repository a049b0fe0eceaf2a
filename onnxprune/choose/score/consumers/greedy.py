"""The loop that all greedy consumer criteria share: the cheapest unit leaves, blocks in turn, ties by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.registry import FloatArray

TIE = 1e-7  # costs that differ by less than this share are equal: their difference is rounding
NOTHING = 1e-15  # of a layer's power: a cost below is zero


class Elimination(Protocol):
    """The state of one greedy removal."""

    def costs(self) -> FloatArray:
        """(n,) what the error changes by if a unit leaves next; anything for units that have left."""

    def remove(self, unit: int) -> None:
        """The unit leaves."""


def absent(consumers: Sequence[Consumer], n: int) -> NDArray[np.bool_]:
    """(n,) True for units that appear in no consumer."""
    out = np.ones(n, dtype=bool)
    for consumer in consumers:
        out[consumer.unit[consumer.unit >= 0]] = False
    return out


def remove_all(state: Elimination, consumers: Sequence[Consumer], n: int, blocks: NDArray[np.int64] | None) -> Removal:
    """Remove the cheapest unit, again and again, until none is left."""
    picker = Picker(absent(consumers, n), blocks)
    order = np.empty(n, dtype=np.int64)
    steps = np.zeros(n)
    for k in range(n):
        costs = state.costs()
        order[k] = picker.pick(costs)
        steps[k] = costs[order[k]]
        if k < n - 1:
            state.remove(int(order[k]))
    return Removal(order, never_falling(np.cumsum(steps)))


def remove_by_score(
    scores: FloatArray, consumers: Sequence[Consumer], blocks: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """The order of leaving (n,) if scores (n,) say who stays and do not change."""
    picker = Picker(absent(consumers, len(scores)), blocks)
    return np.array([picker.pick(scores) for _ in scores], dtype=np.int64)


def never_falling(errors: FloatArray) -> FloatArray:
    """(n,) errors after 1..n removals -> (n + 1,) with a leading zero; an error that falls again does not count."""
    return np.asarray(np.maximum.accumulate(np.concatenate([[0.0], errors])), dtype=np.float64)


class Picker:
    """Which unit leaves next: the cheapest of those whose turn it is."""

    def __init__(self, absent: NDArray[np.bool_], blocks: NDArray[np.int64] | None) -> None:
        n = len(absent)
        self.absent = absent
        self.left = np.zeros(n, dtype=bool)
        self.block = np.zeros(n, dtype=np.int64) if blocks is None else np.unique(blocks, return_inverse=True)[1]
        self.lost = np.zeros(int(self.block.max(initial=-1)) + 1, dtype=np.int64)

    def pick(self, costs: FloatArray) -> int:
        """The unit that leaves; of equal ones the highest index."""
        lost = self.lost[self.block]
        turn = ~self.left & (lost == lost[~self.left].min())
        idle = turn & self.absent
        if idle.any():
            turn = idle
        else:
            least = float(costs[turn].min())
            turn &= costs <= least + abs(least) * TIE + NOTHING
        unit = int(np.flatnonzero(turn)[-1])
        self.left[unit] = True
        self.lost[self.block[unit]] += 1
        return unit
