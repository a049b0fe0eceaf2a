"""The timing at the end of a run: the result in turn with the original, in about two seconds; and if it is not faster,
why. In processes of their own, as `bench` does it: a runtime that crashes, or a model that does not run, is a remark.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnxprune.benching.bench import request, run
from onnxprune.benching.inputs import Feed, from_feed
from onnxprune.benching.results import BenchResult
from onnxprune.errors import OnnxPruneError
from onnxprune.model.load import Model
from onnxprune.options.others import BenchOptions
from onnxprune.results import ProgressCallback
from onnxprune.results.system import environment
from onnxprune.results.timing import TimingSummary

SECONDS = 1.5
MOST_SECONDS = 10.0  # what takes longer is for `bench`


@dataclass(frozen=True)
class Timed:
    """`summary` and all figures (`full`), or the reason why there are none."""

    summary: TimingSummary | None = None
    full: BenchResult | None = None
    problem: str | None = None


def time_result(
    original: Model,
    result: Path,
    *,
    feed: Feed | None = None,
    source: str = "",
    threads: int = 0,
    seed: int = 0,
    profile: bool = False,
    progress: ProgressCallback | None = None,
) -> Timed:
    """How much faster `result` is than `original`, on `feed` (of `source`) or on noise; with `threads` threads, 0 for
    all cores. With a `profile` in any case, otherwise where it is not faster. Raises nothing that a model can cause.
    """
    machine = environment()
    options = BenchOptions(threads=threads or None, seconds=SECONDS, profile=profile, seed=seed)
    asked = request((original, result), machine, options)
    fed = None if feed is None else from_feed(original, feed, source)
    asked = replace(asked, probes=1, fed=fed, most_seconds=MOST_SECONDS, explain=True)
    try:
        full = run(asked, machine, progress)
    except OnnxPruneError as error:
        return Timed(problem=error.message)
    return Timed(_summary(full), full)


def _summary(full: BenchResult) -> TimingSummary:
    found = full.settings[0]
    one, (before, after) = found.comparisons[0], found.measurements
    ratio = one.ratio
    reasons = tuple(cause for compared in full.profile_comparisons for cause in compared.causes)
    return TimingSummary(
        verdict=one.verdict,
        speedup=1 / ratio.value,
        low=1 / ratio.high,
        high=1 / ratio.low if ratio.low > 0 else float("inf"),
        before_s=before.latency.value,
        after_s=after.latency.value,
        threads=found.setting.threads,
        batch=before.samples,
        pairs=one.pairs,
        causes=reasons,
    )
