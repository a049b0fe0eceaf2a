"""Steps of Adam down the gradients of many tensors, shorter ones where they lead uphill.

Adam's steps have a length of their own, whatever the loss. Where little is wrong at the start, they can be too long
from the first one on: the loss of the samples that they fit rises. Then everything begins again, with shorter steps.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.repair.adam import Adam
from onnxprune.repair.minibatches import Feeds, Position, Shards
from onnxprune.repair.whiten import Coordinates

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Weights = dict[str, Floats]
Gradients = Callable[[Feeds], tuple[float, Sequence[Floats]]]
"""A shard -> (loss, gradients in the order of the names)."""
USUAL, SLOWEST, FASTEST = 100.0, 0.15, 3.0  # positions for each feature; factors of the rate
LEAST_SHARE = 0.01  # of weights that are not zero
TOGETHER = 1 << 16  # numbers that a thread moves at least
WINDOW, UPHILL, SHORTER = 30, 1.5, 0.25  # steps whose mean loss says whether it went uphill; how far; the next rate


def pace(evidence: float | None) -> float:
    """The factor of the rate for a layer with so many positions for each feature.

    Where they are few, a step goes mostly after what only these samples have: it fits them, and others become worse.
    """
    return 1.0 if evidence is None else min(max(math.sqrt(evidence / USUAL), SLOWEST), FASTEST)


@dataclass(frozen=True)
class State:
    """All of it after `number` steps: since step `began`, with `rate`; `parts` are as they are moved together, and
    `position` is where the draw of samples is."""

    number: int
    began: int
    rate: float
    recent: Sequence[float]
    at_start: float
    weights: Weights
    parts: Sequence[Sequence[Floats]]
    position: Position


@dataclass(frozen=True)
class Descent:
    """The tensors `names` in their coordinates; `rate` is that of a step at the usual pace. `masks`: by name, which
    elements stay; the others are zero after every step."""

    names: Sequence[str]
    coordinates: Sequence[Coordinates]
    rate: float
    masks: Mapping[str, Bools]

    def run(
        self,
        weights: Weights,
        batches: Iterable[Sequence[Feeds]],
        gradients: Gradients,
        steps: int,
        at_start: float,
        *,
        least: int = 1,
        threads: int = 1,
        progress: Callable[[int, int], None] | None = None,
        changed: Callable[[], None] = lambda: None,
        ended: Callable[[], bool] = lambda: False,
        after: State | None = None,
        kept: Callable[[Callable[[], State]], None] = lambda state: None,
    ) -> int:
        """Change `weights` by no more than `steps` steps, one for each of the `batches`, which are lists of shards.

        `gradients` are those at `weights`. `at_start`: the loss of like samples; above nothing, everything is uphill,
        and only losses that are no numbers count. `least`: how many steps have to be left for another beginning.
        `threads` shards run side by side; their number does not change the result. `changed` is called before the first
        step and after each. `ended` is asked before each: none follows where it says so. How many there were.
        `kept` gets what makes the state after a step; from there, `after`, the `batches` that follow lead to the same.
        """
        start, rate, began, number = dict(weights), self.rate, 0, 0
        recent: list[float] = []
        if after is not None:
            rate, began, number, recent = after.rate, after.began, after.number, list(after.recent)
        parts = self._parts(weights, steps - began, rate)
        if after is not None:
            weights.update(after.weights)
            for part, state in zip(itertools.chain(*parts), after.parts, strict=True):
                part.resume(state, number - began)
        most = UPHILL * at_start if at_start > 0 else math.inf
        changed()
        with ThreadPoolExecutor(threads) as pool:
            for shards in itertools.takewhile(lambda _: not ended(), batches):
                number += 1
                losses, found = zip(*pool.map(gradients, shards), strict=True)
                pairs = zip(self.names, zip(*found, strict=True), strict=True)
                slopes = self._masked({name: sum(g[1:], g[0]) / len(g) for name, g in pairs})
                for moved in pool.map(lambda some, slopes=slopes: _moved(some, slopes), parts):
                    weights.update(self._masked(moved))
                recent = [*recent[1 - WINDOW :], float(np.mean(losses))]
                if len(recent) == WINDOW and not np.mean(recent) <= most and steps - number >= least:
                    weights.update(start)
                    rate, began, recent = rate * SHORTER, number, []
                    parts = self._parts(weights, steps - number, rate)
                changed()
                if progress is not None:
                    progress(number, steps)
                if isinstance(shards, Shards):
                    at = State(number, began, rate, recent, at_start, weights, (), shards.position)
                    kept(partial(_whole, at, parts))
        return number

    def _parts(self, weights: Weights, steps: int, rate: float) -> list[list[_Part]]:
        """Those that one thread moves one after the other: to hand over a small one takes longer than to move it."""
        found: list[list[_Part]] = [[]]
        for c in self.coordinates:
            if sum(part.size for part in found[-1]) >= TOGETHER:
                found.append([])
            found[-1].append(_Part(c, weights, rate * pace(c.evidence) * self._reach(c), steps))
        return found

    def _reach(self, coordinates: Coordinates) -> float:
        """A step is relative to what is not zero of the tensors."""
        masks = [self.masks[name] for name in coordinates.names if name in self.masks]
        share = sum(int(m.sum()) for m in masks) / max(sum(m.size for m in masks), 1) if masks else 1.0
        return 1 / math.sqrt(max(share, LEAST_SHARE))

    def _masked(self, tensors: Mapping[str, Any]) -> Weights:
        return {name: array * self.masks[name] if name in self.masks else array for name, array in tensors.items()}


def _moved(parts: Sequence[_Part], gradients: Weights) -> Weights:
    return {name: array for part in parts for name, array in part.moved(gradients).items()}


def _whole(state: State, parts: Sequence[Sequence[_Part]]) -> State:
    return replace(state, parts=[part.state for some in parts for part in some])


class _Part:
    """Tensors that are moved together, in coordinates of their own."""

    def __init__(self, coordinates: Coordinates, weights: Weights, rate: float, steps: int) -> None:
        self._coordinates, self._values = coordinates, coordinates.read(weights)
        self._adam = Adam([self._values], rate, steps)

    @property
    def size(self) -> int:
        return self._values.size

    @property
    def state(self) -> list[Floats]:
        """Where it is, and what Adam remembers."""
        return [self._values, *self._adam.state]

    def resume(self, state: Sequence[Floats], done: int) -> None:
        """Go on after `done` steps from the state that it had then."""
        self._values[...] = state[0]
        self._adam.resume(state[1:], done)

    def moved(self, gradients: Weights) -> Weights:
        """One step; the new tensors."""
        self._adam.step([self._coordinates.slope(gradients)])
        return self._coordinates.write(self._values)
