"""The function of the API that turns numbers into integers: `quantize`. Nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
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
from onnxprune.measure.gate import Gate, open_gate
from onnxprune.measure.summaries import calibration_summary, outgrown, summary, summary_of
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import BESIDE, Beside, Place, destination, opened
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.quantizing.publish import publish_quantized
from onnxprune.quantizing.request import QuantizeRequest, resolve_quantization
from onnxprune.quantizing.stage import Quantized, quantized
from onnxprune.report.html.command import quantize_commands
from onnxprune.report.html.made import made_page
from onnxprune.report.html.write import result_file, with_report
from onnxprune.results import QuantizeResult
from onnxprune.results.clock import Clock
from onnxprune.trace import Trace


@public(QuantizeOptions)
def quantize(
    options: QuantizeOptions, model: str | Path | Model, out: str | Path | Beside | None = BESIDE
) -> QuantizeResult:
    """Let layers compute with 8-bit integers, or store weights in fewer bits; prove the result, and write it to `out`.

    With the scheme "static" (the default with `data`) convolutions, matrix products and what lies between them run on
    integers, whose ranges the samples show; weights are then adjusted on their grids until layers give what they gave.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.int8.onnx beside the model; None: nothing is written, and the result
            has it as `model`.

    Returns:
        What became integers, and what was shown of it. `model` is a Model if `out` is None (the original where nothing
        was quantised). With `bench` its latency is compared with that of the original: about 2 s. If the page of
        `report` cannot be written, the result stays, and `problem` says what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        GateError: If the result breaks `max_drop`, `min_agreement` or `max_error`.
        VerificationError: If the file does not compute what the original does on the same grids.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """
    clock = Clock(options.told)
    options = provided(options)
    check_data_options(options)
    request = resolve_quantization(options, with_data=options.data is not None)
    given = opened(model)
    source = given.inlined()
    data, metric = anchored(options.data), anchored(options.metric)
    check_bench(options)
    with destination(
        source,
        out,
        request.suffix,
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
        ):  # see shrink
            clock.start("trace")
            traced, given_samples = traced_for(source, data, options.preprocess, options.samples, options.seed)
            found = None
            if given_samples is not None:
                clock.start("capture")
                found = open_samples(given_samples, traced, max_memory=options.max_memory, seed=options.seed)
            remember(options, source, found, place, clock)
            options, notes = paced(options, traced, found, clock)
            request = resolve_quantization(options, with_data=found is not None)
            result = _made(_Run(options, request, source, traced, found, gate, clock, place))
            result = replace(result, notes=(*result.notes, *notes))
        result, times = with_timing(result, source, found, clock, options)
    if place.in_memory:
        left = given if result.model is None else place.labelled(result.model)
        result = replace(result, written=(), model=None if options.dry_run else left)
    result = replace(result, seconds=clock.finish(), interrupted=clock.ending.cut)
    if page is None:
        return result
    commands = quantize_commands(options, model, out, request.suffix, made=result.after is not None)
    shown = made_page(result, environment(), commands, dry_run=options.dry_run, bench=times)
    return with_report(page, shown, result)


@dataclass(frozen=True)
class _Run:
    options: QuantizeOptions
    request: QuantizeRequest
    source: Model
    traced: Trace
    samples: Samples | None
    gate: Gate | None
    clock: Clock
    place: Place


def _made(run: _Run) -> QuantizeResult:
    """The result, written to its place."""
    threads = threads_of(run.options, run.options.threads)
    made = quantized(run.traced, run.request, run.samples, run.clock, run.gate, threads=threads)
    result = _outcome(run, made)
    if made.plan is None:
        return result
    recorded = record(made.model, run.source, result.plan)
    if run.options.dry_run:
        return replace(result, planned=summary_of(recorded, None, run.traced.facts))
    done = publish_quantized(
        run.traced,
        recorded,
        made,
        run.place,
        run.samples,
        run.clock,
        gate=run.gate,
        limits=run.request.limits,
        allow_unproven=run.options.allow_unproven,
        seed=run.options.seed,
        threads=run.options.threads,
    )
    notes = (*result.notes, *done.notes, *outgrown(result.before, done.after, result.plan))
    return replace(
        result,
        notes=notes,
        after=done.after,
        quantization=done.quantization,
        fidelity=done.fidelity,
        written=done.written,
        metric=None if run.gate is None else run.gate.summary(),
        model=done.model if run.place.in_memory else None,
    )


def _outcome(run: _Run, made: Quantized) -> QuantizeResult:
    """What is known before anything is written."""
    samples = run.samples
    said = run.request.recorded(None if samples is None else samples.count)
    plan = Plan(run.source.sha256, (), options=said, quantization=made.plan)
    before = summary(run.source, run.traced.graph, run.traced.facts)
    notes = (*run.source.notes, *(samples.notes if samples else ()))
    known = calibration_summary(samples)
    return QuantizeResult(before, None, plan, made.summary, (), {}, notes=notes, calibration=known)
