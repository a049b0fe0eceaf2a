"""The function of the API that makes weights sparse: `sparsify`. Nothing here prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from threadpoolctl import threadpool_limits

from onnxprune.api.environment import environment
from onnxprune.api.interrupts import interruptible
from onnxprune.api.paced import paced
from onnxprune.api.provided import blaming_provider, provided, threads_of
from onnxprune.api.public import public
from onnxprune.api.remembered import remember, remembering
from onnxprune.api.timed import check_bench, with_timing
from onnxprune.capture.samples import Samples, files_of, open_samples, traced_for
from onnxprune.choose.request import check_data_options
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.data import anchored
from onnxprune.measure.summaries import all_executed, calibration_summary, outgrown, summary, summary_of
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import BESIDE, Beside, Place, destination, opened
from onnxprune.model.strangers import require_known
from onnxprune.options.shrinking import SparsifyOptions
from onnxprune.report.html.command import sparsify_commands
from onnxprune.report.html.made import made_page
from onnxprune.report.html.write import result_file, with_report
from onnxprune.results import ModelSummary, SparsifyResult
from onnxprune.results.clock import Clock
from onnxprune.sparsifying.publish import SparsePublished, publish_sparse
from onnxprune.sparsifying.request import SparseRequest, resolve_sparsity
from onnxprune.sparsifying.stage import Sparsified, sparsified
from onnxprune.trace import Trace

SUFFIX = ".sparse.onnx"


@public(SparsifyOptions)
def sparsify(
    options: SparsifyOptions, model: str | Path | Model, out: str | Path | Beside | None = BESIDE
) -> SparsifyResult:
    """Set weights to zero, in blocks that operators skip, refit what stays, prove the result, and write it to `out`.

    In the pattern "4x1" four output channels share their zeros. With operators of onnxprune the zeros are skipped (a
    runtime without them runs the dense functions in the file). With `data` (as for `shrink`) the method is obs and
    repair is reconstruction by default, without magnitude and none.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.sparse.onnx beside the model; None: nothing is written, and the result
            has it as `model`.

    Returns:
        What became zero, and what was shown of it. `model` is a Model if `out` is None (the original where no weight
        became zero); its weights are read from the files of the original when they are needed. With `bench` its latency
        is compared with that of the original: about 2 s. If the page of `report` cannot be written, the result stays,
        and `problem` says what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        VerificationError: If the result cannot be shown to be right; see `allow_unproven`.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """
    clock = Clock(options.told)
    options = provided(options)
    check_data_options(options)
    request = resolve_sparsity(options, with_data=options.data is not None)
    given = opened(model)
    source = given.inlined()
    if not options.dry_run or options.data is not None:
        require_known(source)
    data = anchored(options.data)
    check_bench(options)
    with destination(
        source,
        out,
        SUFFIX,
        (*source.origin, *files_of(data)),
        force=options.force,
        external_data=options.external_data,
        dry_run=options.dry_run,
    ) as place:
        page = result_file(options, place)
        with (
            threadpool_limits(1, user_api="blas"),
            blaming(source),
            blaming_provider(options),
            remembering(clock),
            interruptible(options, clock.ending),
        ):  # see shrink
            clock.start("trace")
            traced, given_samples = traced_for(source, data, options.preprocess, options.samples, options.seed)
            found = None
            if given_samples is not None:
                clock.start("capture")
                found = open_samples(given_samples, traced, max_memory=options.max_memory, seed=options.seed)
            remember(options, source, found, place, clock)
            options, notes = paced(options, traced, found, clock)
            request = resolve_sparsity(options, with_data=found is not None)
            result = _made(options, request, source, traced, found, clock, place)
            result = replace(result, notes=(*result.notes, *notes))
        result, times = with_timing(result, source, found, clock, options)
    if place.in_memory:
        left = given if result.model is None else place.labelled(result.model)
        result = replace(result, written=(), model=None if options.dry_run else left)
    result = replace(result, seconds=clock.finish(), interrupted=clock.ending.cut)
    if page is None:
        return result
    commands = sparsify_commands(options, model, out, made=result.after is not None)
    shown = made_page(result, environment(), commands, dry_run=options.dry_run, bench=times)
    return with_report(page, shown, result)


def _made(
    options: SparsifyOptions,
    request: SparseRequest,
    source: Model,
    traced: Trace,
    samples: Samples | None,
    clock: Clock,
    place: Place,
) -> SparsifyResult:
    """The result, written to its place."""
    made = sparsified(traced, request, samples, clock, threads=threads_of(options, options.threads))
    result = _outcome(traced, request, made, samples)
    if made.plan is None:
        return result
    if options.dry_run:
        return replace(result, planned=_planned(result, made, source, traced))
    done = publish_sparse(
        traced,
        source,
        record(made.model, source, result.plan),
        made,
        place,
        samples,
        clock,
        allow_unproven=options.allow_unproven,
        seed=options.seed,
        threads=options.threads,
    )
    return replace(_written(result, done), model=done.model if place.in_memory else None)


def _outcome(traced: Trace, request: SparseRequest, made: Sparsified, found: Samples | None) -> SparsifyResult:
    """What is known before anything is written."""
    source = traced.graph.model
    options = request.recorded(None if found is None else found.count)
    plan = Plan(source.sha256, (), options=options, sparsity=made.plan)
    before = summary(source, traced.graph, traced.facts)
    notes = (*source.notes, *(found.notes if found else ()))
    known = calibration_summary(found)
    return SparsifyResult(before, None, plan, made.summary, (), {}, notes=notes, calibration=known)


def _planned(result: SparsifyResult, made: Sparsified, source: Model, traced: Trace) -> ModelSummary:
    """What would be written."""
    left = summary_of(record(made.model, source, result.plan), None, traced.facts)
    return left if made.summary.library is None else all_executed(left, result.before)


def _written(result: SparsifyResult, done: SparsePublished) -> SparsifyResult:
    """With what was written, and what was shown of it."""
    notes = (*result.notes, *done.notes, *outgrown(result.before, done.after, result.plan))
    return replace(
        result, notes=notes, after=done.after, sparsity=done.sparsity, fidelity=done.fidelity, written=done.written
    )
