"""`sweep`: what is missing is computed, here or on a cluster, and kept; all is scored, timed and compared here."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxprune.data import Calibration, input_specs
from onnxprune.measure.metric import open_metric
from onnxprune.measure.summaries import summary_of
from onnxprune.model.load import Model
from onnxprune.options.declare import plain
from onnxprune.options.shrinking import SweepOptions
from onnxprune.results import Progress, ProgressCallback
from onnxprune.results.system import Environment
from onnxprune.results.units import parse_bytes, plural
from onnxprune.sweeping import cluster, far, local, timing
from onnxprune.sweeping.assemble import placed, quality_of
from onnxprune.sweeping.folder import SCHEMA, Folder, Identity, open_folder
from onnxprune.sweeping.integers import quantized_jobs
from onnxprune.sweeping.points import SHARED
from onnxprune.sweeping.record import outcome_of
from onnxprune.sweeping.results import FAILED, FINISHED, Failure, Outcome, Point, SweepResult, SweptPoint
from onnxprune.sweeping.samples import Packed, model_file, opened, pack
from onnxprune.sweeping.scoring import Scores
from onnxprune.sweeping.tasks import Job


@dataclass(frozen=True)
class Request:
    """What was asked for. `data` and `metric` are those of `options`, opened.

    `alone`: what leaves depends on times, so that points are computed one by one, here, with `options.threads`.
    """

    model: Model
    out: Path
    points: tuple[Point, ...]
    options: SweepOptions
    data: Calibration | None
    metric: str | Callable[..., Any] | None
    alone: bool

    @property
    def shared(self) -> dict[str, Any]:
        """The options of `shrink` that all points have, as JSON has them."""
        return {name: plain(getattr(self.options, name)) for name in SHARED}


def run(asked: Request, machine: Environment, progress: ProgressCallback | None) -> SweepResult:
    """Raises an OnnxPruneError for what concerns all points; what is wrong with one is in its outcome."""
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        metric = None if asked.metric is None else stack.enter_context(open_metric(asked.metric))
        folder = stack.enter_context(open_folder(asked.out.absolute()))
        packed = None if asked.data is None else pack(asked.data, folder.work / "samples")
        folder.claim(_identity(asked, packed, machine))
        scores = None if metric is None else Scores(metric, folder, keep=isinstance(asked.metric, str))
        before = None if scores is None else scores.of(asked.model.sha256, asked.model)
        original = model_file(asked.model, folder.work)
        kept = {point: found for point in asked.points if (found := folder.finished(point)) is not None}
        points = [SweptPoint(point, kept[point], reused=True) for point in asked.points if point in kept]
        samples, count = (None, None) if packed is None else (packed.path, packed.samples)
        todo = [point for point in asked.points if point not in kept]
        jobs = [Job(point, asked.shared, original, samples, count) for point in todo if point.quantized is None]
        tell = _teller(progress, len(kept), len(asked.points))
        computed, where = _computed(asked, jobs, folder, machine, tell)
        points += computed
        later = [point for point in todo if point.quantized is not None]
        if later:
            job = Job(later[0], {}, original, samples, count)
            points += _in_integers(asked, later, points, job, folder, machine, lambda m: tell(m, len(computed)))
            where = where if jobs else "this machine"
        points.sort(key=lambda one: asked.points.index(one.point))
        points = [replace(one, path=_model_file(folder, one)) for one in points]
        notes: list[str] = []
        if scores is not None:
            points = [_scored(one, scores, notes) for one in points]
        measured = _timed(asked, points, original, packed, machine, progress)
        points = [replace(one, latency=measured.found.get(one.point.name)) for one in points]
        summary = summary_of(asked.model, asked.model.path)
        quality = quality_of(points)
        points = [replace(one, path=one.path and asked.out / one.path.name) for one in points]
        return SweepResult(
            original=summary,
            points=placed(points, summary, quality, before),
            folder=asked.out,
            source=None if packed is None else packed.source,
            quality=quality,
            metric_name=None if metric is None else metric.label,
            metric_before=before,
            timing=measured.timing,
            where=where,
            notes=(*notes, *measured.notes, *_remarks(points)),
            seconds=time.perf_counter() - start,
        )


def _identity(asked: Request, packed: Packed | None, machine: Environment) -> Identity:
    """What results depend on, besides the point."""
    options = asked.shared
    options["min_keep"] = str(options["min_keep"])  # 1 and "1" ask for the same
    options["max_memory"] = parse_bytes(options["max_memory"])
    versions = {"onnxprune": machine.onnxprune, "onnxruntime": machine.packages.get("onnxruntime")}
    if asked.alone:
        options["threads"], versions["processor"] = asked.options.threads, machine.cpu
    return {
        "schema": SCHEMA,
        "model": {"name": _name(asked.model), "sha256": asked.model.sha256},
        "data": None if packed is None else {"sha256": packed.sha256, "samples_count": packed.samples},
        "options": options,
        "versions": versions,
    }


def _name(model: Model) -> str:
    return "model" if model.path is None else model.path.name


def _computed(
    asked: Request, jobs: Sequence[Job], folder: Folder, machine: Environment, tell: Callable[[str, int], None]
) -> tuple[list[SweptPoint], str]:
    """What is missing, and who computed it. Every point is kept as soon as it is there."""
    points: list[SweptPoint] = []
    if not jobs:
        return points, "nothing had to be computed"
    tell(f"computing {plural(len(jobs), 'point')}", 0)
    with contextlib.ExitStack() as stack:
        if asked.options.scheduler is not None:
            client = stack.enter_context(cluster.connected(asked.options.scheduler))
            where = cluster.described(client, "points")
            files = cluster.shipped(asked.model, jobs[0].model, jobs[0].data, jobs[0].samples)
            replies = far.compute(client, jobs, folder.work, files, asked.options.jobs or None)
        else:
            at_once, threads = _shared_out(asked, len(jobs), machine)
            each = "all threads" if not threads else f"{plural(threads, 'thread')} each"
            where = f"this machine, {at_once} at a time, {each}"
            replies = local.compute(jobs, folder.work, at_once, threads)
        for reply in stack.enter_context(contextlib.closing(replies)):  # type: ignore[type-var]
            point = reply.job.point
            outcome = _outcome(reply.found)
            folder.commit(point, outcome, reply.files if outcome.status == FINISHED else {})
            points.append(SweptPoint(point, outcome))
            tell(f"{point.name}: {outcome.status}", len(points))
    return points, where


def _in_integers(
    asked: Request,
    todo: Sequence[Point],
    done: Sequence[SweptPoint],
    job: Job,
    folder: Folder,
    machine: Environment,
    tell: Callable[[str], None],
) -> list[SweptPoint]:
    """Results quantised, here, when all of them are there."""
    jobs, points = quantized_jobs(todo, {one.point: one for one in done}, asked.options, job, folder)
    if not jobs:
        return points
    at_once, threads = _shared_out(asked, len(jobs), machine)
    tell(f"quantising {plural(len(jobs), 'point')}")
    with contextlib.closing(local.compute(jobs, folder.work, at_once, threads)) as replies:  # type: ignore[type-var]
        for reply in replies:
            outcome = _outcome(reply.found)
            folder.commit(reply.job.point, outcome, reply.files if outcome.status == FINISHED else {})
            points.append(SweptPoint(reply.job.point, outcome))
            tell(f"{reply.job.point.name}: {outcome.status}")
    return points


def _shared_out(asked: Request, count: int, machine: Environment) -> tuple[int, int]:
    """(processes at a time, threads of each): all cores, and no more memory than there is."""
    if asked.alone:
        return 1, asked.options.threads or 0
    fitting = max((machine.memory_bytes or 0) // parse_bytes(asked.options.max_memory), 1)
    at_once = min(asked.options.jobs or min(machine.cores, fitting), count)
    return at_once, max(machine.cores // at_once, 1)


def _outcome(found: Mapping[str, Any]) -> Outcome:
    if "outcome" in found:
        return outcome_of(found["outcome"])
    said = found["failure"]
    failure = Failure(said["type"], said["message"], said["hint"], said["exit_code"])
    return Outcome(FAILED, float(found["duration_s"]), failure=failure)


def _model_file(folder: Folder, point: SweptPoint) -> Path | None:
    return folder.path / f"{point.point.name}.onnx" if point.outcome.status == FINISHED else None


def _scored(point: SweptPoint, scores: Scores, notes: list[str]) -> SweptPoint:
    model = point.outcome.model
    if model is None or point.path is None:
        return point
    value, problem = scores.attempt(model.sha256, point.path)
    if problem is not None:
        notes.append(f"{point.point.name} has no metric: {problem}")
    return replace(point, metric=value)


def _timed(
    asked: Request,
    points: Sequence[SweptPoint],
    original: Path,
    packed: Packed | None,
    machine: Environment,
    progress: ProgressCallback | None,
) -> timing.Timed:
    models = {one.point.name: one.path for one in points if one.path is not None}
    if not asked.options.bench or not models:
        return timing.Timed({}, None)
    data = None if packed is None else opened(packed.path, input_specs(asked.model))
    return timing.timed(original, models, asked.options, machine, data, asked.options.seed, progress)


def _remarks(points: Sequence[SweptPoint]) -> Iterator[str]:
    """What several points say of themselves is said once."""
    for note in dict.fromkeys(note for one in points for note in one.outcome.notes):
        said = [one.point.name for one in points if note in one.outcome.notes]
        yield note if len(said) == len(points) else f"{', '.join(said)}: {note}"


def _teller(progress: ProgressCallback | None, kept: int, total: int) -> Callable[[str, int], None]:
    def tell(message: str, done: int) -> None:
        if progress is not None:
            progress(Progress("sweep", kept + done, total, message))

    return tell
