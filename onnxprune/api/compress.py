"""The function of the API that weighs all levers: `compress`. Nothing here prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from onnxprune.api.environment import environment
from onnxprune.api.helped import helped
from onnxprune.api.interrupts import interruptible
from onnxprune.api.paced import paced
from onnxprune.api.provided import blaming_provider, provided, threads_of
from onnxprune.api.public import public
from onnxprune.api.remembered import remember, remembering
from onnxprune.api.timed import check_bench, with_timing
from onnxprune.capture.samples import files_of, open_samples, traced_for
from onnxprune.choose.request import check_data_options
from onnxprune.compressing.bounds import to_bounds
from onnxprune.compressing.build import UNITS
from onnxprune.compressing.candidates import Candidate
from onnxprune.compressing.publish import publish_compressed
from onnxprune.compressing.request import resolve_compression
from onnxprune.compressing.stage import Compressed, to_target
from onnxprune.compressing.task import Task
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.data import anchored
from onnxprune.measure.gate import open_gate
from onnxprune.measure.summaries import (
    all_executed,
    block_changes,
    calibration_summary,
    changes,
    outgrown,
    summary,
    summary_of,
)
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import BESIDE, Beside, destination, opened
from onnxprune.model.strangers import require_known
from onnxprune.options.compressing import CompressOptions
from onnxprune.report.html.command import compress_commands
from onnxprune.report.html.made import made_page
from onnxprune.report.html.write import result_file, with_report
from onnxprune.results import CompressResult, TargetSummary
from onnxprune.results.clock import Clock

SUFFIX = ".compressed.onnx"


@public(CompressOptions)
def compress(
    options: CompressOptions, model: str | Path | Model, out: str | Path | Beside | None = BESIDE
) -> CompressResult:
    """Make a model cost what `target` says, by the levers that lose least: integers, narrower layers, fewer blocks, and
    with `sparse` zeros (operators of onnxprune skip them; a runtime without them runs the dense functions in the file).

    Every lever is priced by the time that it saves here, or by bytes, and by the error that it leaves; what comes down
    to the target is built, repaired on `data` with everything in place, measured, and the best that was *measured*
    within the target is written; if every try misses a latency, the nearest, at most a tenth above it. Without `target`
    it goes as far as `min_agreement`, `max_error` or `max_drop` allow.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.compressed.onnx beside the model; None: nothing is written, and the
            result has it as `model`.

    Returns:
        What was done, what each lever would have given, and what was shown. With `bench` its latency is compared with
        that of the original: about 2 s. If the page of `report` cannot be written, the result stays, and `problem` says
        what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or a target that no lever comes down to.
        GateError: If nothing is within the bounds, or the result breaks them.
        VerificationError: If the result cannot be shown to be right; see `allow_unproven`.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """
    clock = Clock(options.told)
    options = provided(options)
    check_data_options(options)
    request = resolve_compression(options)
    given = opened(model)
    source = given.inlined()
    data, metric = anchored(options.data), anchored(options.metric)
    check_bench(options)
    with destination(
        source,
        out,
        SUFFIX,
        (*source.origin, *files_of(data), *files_of(metric)),
        force=options.force,
        external_data=options.external_data,
        dry_run=options.dry_run,
    ) as place:
        page = result_file(options, place)
        if metric is not None:
            clock.start("measure")
        with (
            threadpool_limits(1, "blas"),
            open_gate(metric, options.max_drop, source) as gate,
            blaming(source),
            blaming_provider(options),
            remembering(clock),
            interruptible(options, clock.ending),
            helped(options, clock) as helping,
        ):  # see shrink
            require_known(source)
            clock.start("trace")
            traced, given_samples = traced_for(source, data, options.preprocess, options.samples, options.seed)
            assert given_samples is not None
            clock.start("capture")
            found = open_samples(given_samples, traced, max_memory=options.max_memory, seed=options.seed)
            remember(options, source, found, place, clock)
            helping.begin(options, traced, given_samples, found)
            options, notes = paced(options, traced, found, clock, units=UNITS)
            request = resolve_compression(options)
            threads = threads_of(options, options.threads)
            task = Task(traced, request, found, gate, threads, clock, place)
            result = _made(options, task)
            result = replace(result, notes=(*result.notes, *notes, *helping.notes))
        result, times = with_timing(result, source, found, clock, options)
    if place.in_memory:
        left = given if result.model is None else place.labelled(result.model)
        result = replace(result, written=(), model=None if options.dry_run else left)
    result = replace(result, seconds=clock.finish(), interrupted=clock.ending.cut)
    if page is None:
        return result
    commands = compress_commands(options, model, out, made=result.after is not None)
    shown = made_page(result, environment(), commands, dry_run=options.dry_run, bench=times)
    return with_report(page, shown, result)


def _made(options: CompressOptions, task: Task) -> CompressResult:
    """The result, written to its place."""
    limit = task.limit
    done = to_bounds(task) if limit is None else to_target(task, limit)
    result = _outcome(options, task, done)
    taken = done.taken
    if taken is None:
        return result
    if options.dry_run:
        recorded = record(taken.model, task.original, result.plan)
        left = summary_of(recorded, None, task.traced.facts)
        missing = result.sparsity is not None and result.sparsity.library is not None
        return replace(result, planned=all_executed(left, result.before) if missing else left)
    shown = publish_compressed(task, taken, allow_unproven=options.allow_unproven, seed=options.seed)
    notes = (*result.notes, *shown.notes, *outgrown(result.before, shown.after, result.plan))
    return replace(
        result,
        notes=notes,
        after=shown.after,
        proof=shown.proof,
        quantization=shown.quantization,
        sparsity=shown.sparsity,
        fidelity=shown.fidelity,
        written=shown.written,
        metric=None if task.gate is None else task.gate.summary(),
        model=shown.model if task.place.in_memory else None,
    )


def _outcome(options: CompressOptions, task: Task, done: Compressed) -> CompressResult:
    """What is known before anything is written."""
    taken, source, traced = done.taken, task.original, task.traced
    nothing = Plan(source.sha256, (), options=task.request.recorded(task.samples.count))
    made = None if taken is None or taken.zeros is None else taken.zeros.made
    plan = nothing if taken is None else task.plan(taken.choice, taken.integers, made)
    choice = None if taken is None else taken.choice
    return CompressResult(
        summary(source, traced.graph, traced.facts),
        None,
        plan,
        () if choice is None else changes(choice.traced, choice.selection, choice.plan),
        None,
        0.0,
        None,
        None if taken is None else taken.repair,
        (),
        {},
        notes=(*source.notes, *task.samples.notes, *(() if choice is None else choice.notes)),
        target=_target(options, task, taken),
        calibration=calibration_summary(task.samples),
        blocks=() if choice is None else block_changes(choice.traced, choice.selection, choice.plan),
        curves=() if choice is None or choice.selection is None else choice.selection.curves,
        sparsity=None if made is None else made.summary,
        quantization=None if taken is None or taken.integers is None else taken.integers.summary,
        points=done.points,
        without=done.without,
    )


def _target(options: CompressOptions, task: Task, taken: Candidate | None) -> TargetSummary | None:
    """What was asked, and what was measured."""
    limit = task.limit
    if limit is None or options.target is None or taken is None:
        return None
    kind = task.request.kind
    before = task.meter.before if kind == "latency" else float(task.original.size_bytes)
    cost = taken.point.cost * before
    return TargetSummary(options.target, kind, limit * before, before, cost, cost)
