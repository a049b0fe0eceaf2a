"""How long a step of reconstruction takes here: what a time allows of it."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

import numpy as np

from onnxprune.capture.samples import Samples
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.results.providers import Threads
from onnxprune.trace.groups import Trace

WATCHED, FIRST = 3.0, 2
"""Seconds that are watched, after the first steps, which are slower."""
DIGITS = 2
"""Of an effort: it is said, and said again it gives the same result."""
LEAST = 0.05


class _Enough(Exception):
    """It was seen how fast it goes."""


@dataclass(frozen=True)
class Pace:
    """`seconds` of a step, of `steps` that are usual."""

    seconds: float
    steps: int

    def effort(self, seconds: float) -> float:
        """How many times the usual steps fit into `seconds`, of two digits, rounded down."""
        found = max(seconds / (self.seconds * self.steps), LEAST)
        unit = 10.0 ** (math.floor(math.log10(found)) - DIGITS + 1)
        return float(f"{math.floor(found / unit * (1 + 1e-9)) * unit:.{DIGITS}g}")


def pace_of(trace: Trace, samples: Samples, *, threads: Threads = 0) -> Pace | None:
    """Watched on the network of `trace`, which takes no less than any cut of it; None if nothing of it can be
    adjusted.
    """
    marks: list[float] = []
    total = 0

    def watch(done: int, steps: int) -> None:
        nonlocal total
        total = steps
        marks.append(time.perf_counter())
        if done > FIRST and marks[-1] - marks[FIRST - 1] >= WATCHED:
            raise _Enough

    with contextlib.suppress(_Enough):
        reconstruct(
            trace,
            np.ones(trace.unit_count, bool),
            trace.graph.model,
            samples.batches,
            samples.held_out,
            independent=samples.independent,
            more=samples.more,
            threads=threads,
            progress=watch,
        )
    if len(marks) <= FIRST:
        return None
    return Pace((marks[-1] - marks[FIRST - 1]) / (len(marks) - FIRST), total)
