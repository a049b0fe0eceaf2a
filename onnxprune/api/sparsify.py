"""The function of the API that makes weights sparse: `sparsify`. Nothing here prints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from onnxprune.api.environment import environment
from onnxprune.api.timed import check_bench, with_timing
from onnxprune.capture.samples import Samples, files_of, open_samples, traced_for
from onnxprune.choose.request import check_data_options
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.data import anchored
from onnxprune.measure.summaries import all_executed, calibration_summary, outgrown, summary, summary_of
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import destination, opened
from onnxprune.report.html.command import sparsify_commands
from onnxprune.report.html.made import made_page
from onnxprune.report.html.write import open_report, with_report
from onnxprune.results import ModelSummary, ProgressCallback, SparsifyResult
from onnxprune.results.clock import Clock
from onnxprune.results.units import listed
from onnxprune.sparsifying.publish import SparsePublished, publish_sparse
from onnxprune.sparsifying.request import OPTIONS, SparseRequest, resolve_sparsity
from onnxprune.sparsifying.stage import Sparsified, sparsified
from onnxprune.trace import Trace

SUFFIX = ".sparse.onnx"


def sparsify(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    sparsity: float | None = None,
    pattern: str | None = None,
    method: str | None = None,
    scope: str | None = None,
    schedule: str | None = None,
    steps: int | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    lock: bool = False,
    max_error: float | None = None,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    repair: str = "auto",
    emit: str = "operators",
    dry_run: bool = False,
    allow_unproven: bool = False,
    force: bool = False,
    external_data: Any = "auto",
    report: str | Path | None = None,
    bench: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> SparsifyResult:
    """Set the share `sparsity` of the weights of layers to zero, in blocks of `pattern` ("4x1": four output channels
    share their zeros; "unstructured", "2:4", ...; "auto": measured here, layer by layer), refit what stays, prove the
    result, and write it to `out` (NAME.sparse.onnx).

    `emit`: with "operators" of onnxprune, which skip the zeros (a runtime without them runs the dense functions in the
    file), with "dense-zeros" for other runtimes, or as "sparse-initializers", which are only smaller. `data` are
    calibration samples as in `shrink`: with them `method` is obs and `repair` reconstruct by default, without them
    magnitude and none. `lock`: weights that are zero stay zero, and count. Layers whose output is further off than
    `max_error` (its squared error relative to its variance) stay dense. `allow_unproven` as in `shrink`. Raises an
    OnnxPruneError; then nothing was written. With `bench` (as the command does) the result is timed in turn with the
    original: about 2 s. `report` is an HTML file to write.
    """
    given = {**dict(locals()), "include": listed(include), "exclude": listed(exclude)}
    clock = Clock(progress)
    check_data_options(data is not None, preprocess, samples)
    request = resolve_sparsity(**{name: given[name] for name in OPTIONS}, with_data=data is not None)
    source = opened(model)
    data = anchored(data)
    protected = (*source.origin, *files_of(data))
    place = destination(source, out, SUFFIX, protected, force=force, external_data=external_data, dry_run=dry_run)
    check_bench(given)
    page = open_report(report, force=force, inputs=protected, outputs=() if dry_run else (place.target,))
    with threadpool_limits(1, user_api="blas"), blaming(source):  # see shrinking.shrink
        clock.start("trace")
        traced, given_samples = traced_for(source, data, preprocess, samples, seed)
        found = None
        if given_samples is not None:
            clock.start("capture")
            found = open_samples(given_samples, traced, max_memory=max_memory, seed=seed)
        made = sparsified(traced, request, found, clock, threads=threads)
        result = _outcome(traced, request, made, found)
        if made.plan is not None and not dry_run:
            recorded = record(made.model, source, result.plan)
            how: dict[str, Any] = {"allow_unproven": allow_unproven, "seed": seed, "threads": threads}
            done = publish_sparse(traced, source, recorded, made, place, found, clock, **how)
            result = _written(result, done)
        elif made.plan is not None:
            result = replace(result, planned=_planned(result, made, source, traced))
    result, times = with_timing(result, source, found, clock, given)
    result = replace(result, seconds=clock.finish())
    if page is None:
        return result
    commands = sparsify_commands(given, sparsify.__kwdefaults__ or {})
    return with_report(page, made_page(result, environment(), commands, dry_run=dry_run, bench=times), result)


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
