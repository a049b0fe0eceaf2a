"""Latency of all models of a sweep on this machine, each in turn with the original: `bench`, in groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxprune.benching import bench
from onnxprune.benching.candidates import names_of
from onnxprune.benching.results import BenchResult
from onnxprune.errors import OnnxPruneError
from onnxprune.options.others import BenchOptions
from onnxprune.options.running import TimedRuns
from onnxprune.results import Progress, ProgressCallback
from onnxprune.results.system import Environment
from onnxprune.sweeping.results import Latency, Timing

GROUP = 12
"""Models that are timed in turn with the original at once: more would lie in memory together, and each run less."""
SECONDS, LEAST_SECONDS = 2.0, 5.0  # for each model, and of a group


@dataclass(frozen=True)
class Timed:
    """Latency by name of the point; `timing` is None if nothing could be measured, and `notes` say why."""

    found: Mapping[str, Latency]
    timing: Timing | None
    notes: tuple[str, ...] = ()


def request(models: Sequence[Path], how: TimedRuns, machine: Environment, data: Any, seed: int) -> bench.Request:
    """What `bench` is asked for; `how.seconds` is for a group, None: two for each model. One probe is enough, as memory
    and first runs are not shown. Raises UsageError.
    """
    seconds = how.seconds
    if seconds is None and how.runs is None:
        seconds = max(LEAST_SECONDS, SECONDS * (len(models) - 1))
    options = BenchOptions(threads=how.threads, batch=how.batch, seconds=seconds, runs=how.runs, data=data, seed=seed)
    return replace(bench.request(models, machine, options), probes=1)


def timed(
    original: Path,
    models: Mapping[str, Path],
    how: TimedRuns,
    machine: Environment,
    data: Any,
    seed: int,
    progress: ProgressCallback | None,
) -> Timed:
    """Time the models (point -> file) in turn with the original. What cannot be run has no latency, but a note."""
    found: dict[str, Latency] = {}
    notes: list[str] = []
    timing: Timing | None = None
    points = list(models)
    groups = [points[start : start + GROUP] for start in range(0, len(points), GROUP)]
    for number, group in enumerate(groups):
        paths = [original, *(models[point] for point in group)]
        called = dict(zip(names_of(paths)[1:], group, strict=True))

        def tell(step: Progress, number: int = number) -> None:
            if progress is not None:
                progress(Progress("bench", number, len(groups), step.message))

        try:
            result = bench.run(request(paths, how, machine, data, seed), machine, tell)
        except OnnxPruneError as error:
            notes.append(f"latency was not measured: {error.message}")
            continue
        notes += [f"{called.get(one.model, one.model)} could not be timed: {one.reason}" for one in result.rejected]
        (setting,) = result.settings
        medians = {one.model: one.latency for one in setting.measurements}
        for one in setting.comparisons:
            found[called[one.model]] = Latency(medians[one.model], one)
        timing = timing or _timing(result)
    return Timed(found, timing, tuple(dict.fromkeys(notes)))


def _timing(result: BenchResult) -> Timing:
    (setting,) = result.settings
    first = setting.measurements[0]
    return Timing(
        result.cpu,
        result.runtime,
        setting.setting.threads,
        first.samples,
        setting.rounds,
        result.source,
        first.latency,
        result.notes,
    )
