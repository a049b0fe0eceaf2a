"""The function of the API that removes channels, heads or blocks: `shrink`. Nothing here prints."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from onnxprune.api.environment import environment
from onnxprune.api.helped import Help, helped
from onnxprune.api.interrupts import interruptible
from onnxprune.api.paced import paced
from onnxprune.api.provided import blaming_provider, provided, threads_of
from onnxprune.api.public import public
from onnxprune.api.remembered import remember, remembering
from onnxprune.api.timed import check_bench, with_timing
from onnxprune.capture.samples import files_of, open_samples, traced_for
from onnxprune.choose.request import GIVE_DATA, Request, resolve
from onnxprune.cut.plan import Plan, check_source
from onnxprune.cut.provenance import record
from onnxprune.data import anchored
from onnxprune.errors import UsageError
from onnxprune.measure.gate import Gate, open_gate
from onnxprune.measure.summaries import outgrown, summary_of, with_size
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import BESIDE, Beside, Place, beside, destination, opened
from onnxprune.model.strangers import require_known
from onnxprune.options.shrinking import ShrinkOptions
from onnxprune.quantizing.limits import Limits
from onnxprune.report.html.command import shrink_commands
from onnxprune.report.html.made import made_page
from onnxprune.report.html.write import result_file, with_report
from onnxprune.results import ShrinkResult
from onnxprune.results.clock import Clock
from onnxprune.shrinking.bounds import Bounded
from onnxprune.shrinking.largest import largest_within
from onnxprune.shrinking.planning import Choice, Run, outcome, repaired
from onnxprune.shrinking.publish import Published, publish
from onnxprune.shrinking.steps import plan_in_steps
from onnxprune.sparsifying.request import SparseRequest, resolve_stage

SUFFIX = ".pruned.onnx"
DENSE = "the plan also made weights zero, and this run did not: --sparsity or --pattern does that"
UNMASKED = "which weights become zero is chosen after the cut and its repair, so not in a dry run"


def default_output(model: Path) -> Path:
    """Where the result of `shrink` goes by default: beside the model, as NAME.pruned.onnx."""
    return beside(model, SUFFIX)


@public(ShrinkOptions)
def shrink(options: ShrinkOptions, model: str | Path | Model, out: str | Path | Beside | None = BESIDE) -> ShrinkResult:
    """Remove channels, attention heads or residual blocks; prove the result, and write it to `out`.

    With `data` (calibration samples: a path, a mapping of arrays or of their names to .npy files, a function, a
    Calibration of `onnxprune.data.open_data`) the criterion is obs and repair is reconstruction by default; without, l1
    and merging. What stays are multiples of what the kernels of `device` work on at once (avx512: 16 channels, avx2: 8,
    neon: 16), and narrower layers stay; or of `multiple_of`. Without `ratio`, `target` and `plan`, the largest ratio
    that `metric` and `max_drop`, `min_agreement` or `max_error` allow is searched for. With `plan`, exactly that is
    removed. With a `schedule` it leaves in `steps`, each followed by repair. With `sparsity` or `pattern`, the weights
    of what stays become sparse after that, as `sparsify` does it; repair still aims at the original.

    Args:
        model: A path, or a Model of `load`, which may have been changed.
        out: The file to write; left out, NAME.pruned.onnx beside the model; None: nothing is written, and the result
            has it as `model`.

    Returns:
        What was removed and shown. `model` is a Model if `out` is None (the original where nothing left); its weights
        are read from the files of the original when they are needed. With `bench` its latency is compared with that of
        the original: about 2 s, on one sample. If the page of `report` cannot be written, the result stays, and
        `problem` says what it was.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        GateError: If nothing may leave within `max_drop`, `min_agreement` or `max_error`, or the result breaks them.
        VerificationError: If the result cannot be shown to be right; see `allow_unproven`.
        OnnxPruneError: For any other reason why there is no result. Then nothing was written.
    """
    clock = Clock(options.told)
    options = provided(options)
    asked = _asked(options)
    given = opened(model)
    source = given.inlined()
    data, metric = anchored(options.data), anchored(options.metric)
    check_bench(options)
    protected = (*source.origin, *files_of(data), *files_of(metric))
    with destination(
        source,
        out,
        SUFFIX,
        protected,
        force=options.force,
        external_data=options.external_data,
        dry_run=options.dry_run,
    ) as place:
        page = result_file(options, place)
        if metric is not None:
            clock.start("measure")
        # threads of BLAS spin against those of ONNX Runtime: several times slower, and the products here are small
        with (
            threadpool_limits(1, "blas"),
            open_gate(metric, options.max_drop, source) as gate,
            blaming(source),
            blaming_provider(options),
            remembering(clock),
            interruptible(options, clock.ending),
            helped(options, clock) as helping,
        ):
            run, asked = _opened_run(options, asked, source, data, gate, place, helping)
            result, made = _made(options, asked, source, run, gate)
            result = replace(result, notes=(*result.notes, *helping.notes))
        result, times = with_timing(result, source, run.samples, clock, options)
    if place.in_memory:
        left = given if made is None else place.labelled(made)
        result = replace(result, written=(), model=None if options.dry_run else left)
    result = replace(result, seconds=clock.finish(), interrupted=clock.ending.cut)
    if page is None:
        return result
    commands = shrink_commands(options, model, out, made=result.after is not None)
    return with_report(page, made_page(result, environment(), commands, dry_run=options.dry_run, bench=times), result)


def _opened_run(
    options: ShrinkOptions, asked: _Asked, source: Model, data: Any, gate: Gate | None, place: Place, helping: Help
) -> tuple[Run, _Asked]:
    """The network traced, and samples run through it; and what is asked, with an effort in place of a time."""
    clock = helping.clock
    clock.start("trace")
    traced, given_samples = traced_for(
        source, data, options.preprocess, options.samples, options.seed, units=asked.units
    )
    if asked.plan is not None:
        check_source(asked.plan, traced)
    elif asked.units == "heads" and not traced.has_heads:
        raise UsageError(
            "--units heads has no effect: no axis of this model is split into heads.",
            hint="Leave out --units, to remove channels.",
        )
    leaving = bool(traced.prunable or traced.removable_branches or asked.sparse)
    if leaving and options.verify and not options.dry_run:
        require_known(source)
    found = None
    if given_samples is not None:
        clock.start("capture")
        found = open_samples(given_samples, traced, max_memory=options.max_memory, seed=options.seed)
    remember(options, source, found, place, clock)
    helping.begin(options, traced, given_samples, found)
    options, notes = paced(options, traced, found, clock)
    if notes:
        asked = replace(_asked(options), notes=(*asked.notes, *notes))
    if asked.limits.given and found is not None:
        gate = Bounded(gate, asked.limits, source, found, clock, options.threads)
    threads = threads_of(options, options.threads)
    return Run(traced, asked.request, asked.plan, found, gate, threads, clock, place, asked.sparse), asked


def _made(
    options: ShrinkOptions, asked: _Asked, source: Model, run: Run, gate: Gate | None
) -> tuple[ShrinkResult, Model | None]:
    """The result, written to the place of the run, and the model that was written. `gate`: the user's."""
    made = None
    search = (options.max_drop is not None or asked.limits.given) and asked.free
    by_macs = options.data is not None and options.scope is None and asked.units != "blocks"  # as a target would choose
    choice = largest_within(run, plan_in_steps, by_macs=by_macs) if search else plan_in_steps(run)
    result = outcome(source, choice, run)
    result = replace(result, notes=(*result.notes, *asked.notes))
    if search:
        result = replace(result, asked_ratio=None)
    if options.dry_run or (choice.plan.removed_count == 0 and asked.sparse is None):
        result = _unwritten(result, run, choice, tried=search)
    else:
        done = publish(run, choice, verify=options.verify, allow_unproven=options.allow_unproven)
        result, made = _written(result, done), done.model
    bounds = run.gate.bounds() if isinstance(run.gate, Bounded) else None
    return replace(result, metric=gate.summary() if gate else None, bounds=bounds), made


@dataclass(frozen=True)
class _Asked:
    """What a call asks for. `plan` is without what it says of zeros: weights become sparse as this call says.

    `free`: it does not say how much is to leave. `limits`: without the user's metric.
    """

    request: Request
    sparse: SparseRequest | None
    plan: Plan | None
    units: str
    free: bool
    limits: Limits
    notes: tuple[str, ...] = ()


def _asked(options: ShrinkOptions) -> _Asked:
    """Raises UsageError."""
    plan = options.plan
    units: Any = options.units if plan is None else plan.units
    request = resolve(replace(options, units=units))
    sparse = resolve_stage(request, options, bounded=True)
    limits = _limits(request, options)
    free = options.ratio is None and options.target is None
    if plan is None:
        return _Asked(request, sparse, None, units, free, limits)
    if not free:
        raise UsageError("a plan says exactly what to remove: neither a ratio nor a target has an effect with it")
    notes = (DENSE,) if sparse is None and "sparsity" in plan.options else ()
    recorded = {key: value for key, value in plan.options.items() if key != "sparsity"}
    bare = replace(plan, sparsity=None, options=recorded, path=None)
    return _Asked(request, sparse, bare, units, False, limits, notes)


def _limits(request: Request, options: ShrinkOptions) -> Limits:
    """Raises UsageError."""
    found = request.bounds
    if found["max_error"] is not None and not request.with_data:
        raise UsageError(
            "--max-error without --sparsity bounds the outputs, on samples, and there are none.", hint=f"{GIVE_DATA}."
        )
    return Limits.checked(None, found["min_agreement"], found["max_error"], with_data=request.with_data)


def _unwritten(result: ShrinkResult, run: Run, choice: Choice, *, tried: bool) -> ShrinkResult:
    """Of a dry run, or where nothing leaves. The gate sees what was not `tried` in a search."""
    if run.gate is not None and not tried and choice.plan.removed_count:
        run.gate.check(repaired(run, choice))
    if choice.plan.removed_count:
        left = record(choice.smaller, choice.traced.graph.model, choice.plan)
        result = replace(result, planned=summary_of(left, run.place.target, choice.traced.facts))
    return result if run.sparse is None else replace(result, notes=(*result.notes, UNMASKED))


def _written(result: ShrinkResult, done: Published) -> ShrinkResult:
    """With what was written, and what was shown of it."""
    grown = outgrown(result.before, done.after, done.plan) if done.written else ()
    return replace(
        result,
        notes=(*result.notes, *done.notes, *grown),
        plan=done.plan,
        after=done.after if done.written else None,
        sparsity=done.sparsity,
        proof=done.proof,
        repair=done.repair,
        fidelity=done.fidelity,
        written=done.written,
        target=with_size(result.target, done.written),
    )
