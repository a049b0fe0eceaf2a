"""How reconstruction goes: the error of the outputs on a few held-out samples, told some times on the way.

It is measured only to be told, and changes nothing: on so few samples, so seldom, that it takes a hundredth of the
time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.results.progress import Watch
from onnxprune.results.units import format_percent

Weights = dict[str, NDArray[np.float32]]
Error = Callable[[Weights, int], float]
"""(weights, held-out samples at most) -> squared relative error of the outputs"""
TIMES = 12
PASSES = 4  # of a sample that is fitted: one of the original, one forward and two backward of the cut
SHARE = 0.01


class Course:
    """Tells `watch` how the held-out error falls, besides how many steps are done; `samples`: those of a step."""

    def __init__(self, watch: Watch, error: Error, weights: Weights, steps: int, samples: int) -> None:
        self._watch, self._error, self._weights = watch, error, weights
        self._done, self._steps = 0, steps
        self._most = max(int(SHARE * PASSES * samples * steps / TIMES), 1)
        self._every = max(steps // TIMES, 1)

    def goes_on(self, done: int) -> None:
        """There were so many steps in an earlier run."""
        self._done = done
        self._watch(0, self._steps)
        self._watch.say(f"goes on after step {done} of {self._steps}")

    @property
    def ended(self) -> bool:
        """Whether no step is to follow. What that cuts short is remembered."""
        if self._watch.ended and self._done < self._steps:
            self._watch.shorten(self._done, self._steps)
        return self._watch.ended

    def __call__(self, done: int, total: int) -> None:
        self._done = done
        if self._watch.listens and done % self._every == 0 and done < total:
            error = _text(self._error(self._weights, self._most))
            self._watch.say(f"step {done} of {total}, held-out error {error}")
            self._watch.show(f"held-out error {error}")
        self._watch(done, total)


def conclude(watch: Watch, steps: int, before: float, after: float) -> None:
    """What is taken in the end, on all held-out samples; squared errors."""
    kept = "" if after < before else ": the weights stay as they were"
    watch.say(f"{steps} steps, held-out error {_text(before)} -> {_text(after)}{kept}")
    watch.show(f"held-out error {_text(before)} -> {_text(after)}{kept}")


def _text(squared: Any) -> str:
    return format_percent(math.sqrt(squared))
