"""The points of a sweep once more in int8: each result, and the original, quantised on the same samples, here.

A quantised point is made of the file of its point, when that is there; how far it is from the original is measured
against the original, on the samples that were held out from both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from onnxprune.options.shrinking import SweepOptions
from onnxprune.sweeping.folder import Folder
from onnxprune.sweeping.results import FINISHED, NOTHING, Failure, Outcome, Point, SweptPoint
from onnxprune.sweeping.tasks import Job

SUFFIX, ALONE = "-int8", "int8"
REBUILT = ("auto", "reconstruct")
"""Repairs with which a quantised network is reconstructed as well."""


def quantized_points(points: Sequence[Point], device: str) -> tuple[Point, ...]:
    """The original in int8, then every point; `device`: for which processors."""
    alone = Point(_free(ALONE, points), None, None, None, device)
    return (alone, *(replace(point, name=_free(point.name + SUFFIX, points), quantized=device) for point in points))


def source_of(point: Point, points: Sequence[Point]) -> Point | None:
    """The point that a quantised one is made of; None for the original."""
    same = (point.ratio, point.target, point.criterion)
    found = (one for one in points if one.quantized is None and (one.ratio, one.target, one.criterion) == same)
    return None if point.ratio is None and point.target is None else next(found)


def quantized_jobs(
    todo: Sequence[Point], done: Mapping[Point, SweptPoint], asked: SweepOptions, job: Job, folder: Folder
) -> tuple[list[Job], list[SweptPoint]]:
    """What is to be computed once all other points are `done`, and points that have no model to quantise. `job`: for
    the original, with the samples.
    """
    jobs: list[Job] = []
    without: list[SweptPoint] = []
    for point in todo:
        source = source_of(point, list(done))
        outcome = None if source is None else done[source].outcome
        if outcome is not None and outcome.status != FINISHED:
            without.append(SweptPoint(point, _without(outcome)))
            continue
        file = job.model if source is None else folder.path / f"{source.name}.onnx"
        options = {
            "scheme": "static",
            "device": point.quantized,
            "repair": "reconstruct" if asked.repair in REBUILT else "none",
            "seed": asked.seed,
            "max_memory": asked.max_memory,
            "provider": asked.provider,
            "external_data": asked.external_data,
        }
        cut = {"removed": outcome.removed, "reached_ratio": outcome.reached_ratio} if outcome else {}
        jobs.append(replace(job, point=point, options=options, quantize={"model": str(file.absolute()), **cut}))
    return jobs, without


def _without(outcome: Outcome) -> Outcome:
    failure = outcome.failure
    reason = "there is no model" if failure is None else failure.message
    hint = None if failure is None else failure.hint
    return Outcome(NOTHING, 0.0, failure=Failure("NothingToQuantize", f"not quantised: {reason}", hint, 0))


def _free(name: str, points: Sequence[Point]) -> str:
    """A name that no point has."""
    taken, number, found = {one.name.lower() for one in points}, 2, name
    while found.lower() in taken:
        found, number = f"{name}-{number}", number + 1
    return found
