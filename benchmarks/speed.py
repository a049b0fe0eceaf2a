"""How fast a model is beside another one, for the benchmarks of gains: timed in turn, in this process."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from onnxprune.measure.timing import (
    SHORTEST,
    Floats,
    clock_of,
    interleaved,
    paired_ratio,
    timed,
    timed_session,
    undisturbed,
    warm_up,
)
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.proof.inputs import feed

SECONDS, LEAST, MOST = 3.0, 15, 600


def faster(
    original: Path, candidate: Path, threads: int, inputs: Mapping[str, Any] | None = None
) -> tuple[float, float, float, float]:
    """Times as fast, the quartiles of the ratios of runs next to each other, and seconds of the original; on `inputs`,
    or on random ones of the default sizes.
    """
    graph = build(load(original))
    given = feed(graph, infer(graph).inputs, 0, 1.0) if inputs is None else inputs
    times = in_turn((original, candidate), given, threads)
    return (*ratio(times, 0, 1), float(np.median(times[:, 0])))


def in_turn(models: Sequence[Path], inputs: Mapping[str, Any], threads: int) -> Floats:
    """Seconds of each model, (rounds, models), without rounds that were disturbed; in about SECONDS."""
    runs = [functools.partial(timed_session(one, threads).run, None, inputs) for one in models]
    once = sum(warm_up(run) for run in runs)
    rounds = int(min(max(SECONDS / max(once, 2e-3), LEAST), MOST))
    return undisturbed(interleaved(runs, rounds, clock=clock_of(threads)))


def own_time_in_turn(models: Sequence[Path], inputs: Mapping[str, Any], seconds: float, least: int) -> Floats:
    """The same with one thread, in that thread's own time, which stands still while other programs have the processor:
    for machines so busy that hardly a run is undisturbed. `seconds` of it, and at least `least` rounds.
    """
    runs = [functools.partial(timed_session(one, 1).run, None, inputs) for one in models]
    clock = clock_of(1)
    once = sum(max(min(timed(run, clock=clock) for _ in range(3)), SHORTEST) for run in runs)  # which warms up as well
    return undisturbed(interleaved(runs, int(min(max(seconds / once, least), MOST)), clock=clock))


def ratio(times: Floats, of: int, to: int) -> tuple[float, float, float]:
    """How many times as fast as model `of` is model `to`, and the quartiles of the rounds."""
    low, high = np.quantile(times[:, of] / times[:, to], (0.25, 0.75))
    return 1 / paired_ratio(times, to, of), float(low), float(high)
