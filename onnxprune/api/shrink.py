"""The function of the API that removes channels, heads or blocks: `shrink`. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from onnxprune.api.environment import environment
from onnxprune.api.timed import check_bench, with_timing
from onnxprune.capture.samples import files_of, open_samples, traced_for
from onnxprune.choose.request import OPTIONS, Request, resolve
from onnxprune.cut.plan import Plan, check_source
from onnxprune.cut.provenance import record
from onnxprune.data import anchored
from onnxprune.errors import UsageError
from onnxprune.measure.gate import open_gate
from onnxprune.measure.summaries import outgrown, summary_of, with_size
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import beside, destination, opened
from onnxprune.report.html.command import shrink_commands
from onnxprune.report.html.made import made_page
from onnxprune.report.html.write import shrink_file, with_report
from onnxprune.results import ProgressCallback, ShrinkResult
from onnxprune.results.clock import Clock
from onnxprune.results.units import listed
from onnxprune.shrinking.largest import largest_within
from onnxprune.shrinking.planning import Choice, Run, outcome, repaired
from onnxprune.shrinking.publish import Published, publish
from onnxprune.shrinking.steps import plan_in_steps
from onnxprune.sparsifying.request import STAGE_OPTIONS, SparseRequest, resolve_stage

SUFFIX = ".pruned.onnx"
ASKED = ("ratio", "target", "criterion", "preprocess", "samples", *OPTIONS)
DENSE = "the plan also made weights zero, and this run did not: --sparsity or --pattern does that"
UNMASKED = "which weights become zero is chosen after the cut and its repair, so not in a dry run"


def default_output(model: Path) -> Path:
    """Where the result of `shrink` goes by default: beside the model, as NAME.pruned.onnx."""
    return beside(model, SUFFIX)


def shrink(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    ratio: float | None = None,
    target: str | None = None,
    criterion: str | None = None,
    scope: str | None = None,
    normalise: Any = "mean",
    aggregate: Any = "mean",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    multiple_of: int | str | None = None,
    device: str = "auto",
    min_keep: str | int | float = 1,
    units: str = "channels",
    schedule: str | None = None,
    steps: int | None = None,
    sparsity: float | None = None,
    pattern: str | None = None,
    method: str | None = None,
    emit: str = "operators",
    lock: bool = False,
    max_error: float | None = None,
    data: Any = None,
    preprocess: str | None = None,
    samples: int | None = None,
    max_memory: str | int = "4GB",
    repair: str = "auto",
    metric: str | Callable[[str], float] | None = None,
    max_drop: float | None = None,
    plan: Plan | None = None,
    dry_run: bool = False,
    verify: bool = True,
    allow_unproven: bool = False,
    force: bool = False,
    external_data: Any = "auto",
    report: str | Path | None = None,
    bench: bool = False,
    seed: int = 0,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> ShrinkResult:
    """Remove the share `ratio` of the removable channels (0.5), or what meets `target` ("macs=50%", "params=2M",
    "size=10MB" may be left, or "latency=50%", "latency=4ms" as measured here with `threads`), or of the attention heads
    or residual blocks (`units`); prove the result, and write it to `out`. What stays are multiples of
    what the kernels of `device` work on at once ("auto" is this machine; avx512: 16 channels, avx2: 8, neon: 16), and
    narrower layers stay; or of `multiple_of`; "auto" measures here which is best.

    `data` are calibration samples: a path, a mapping of arrays (or of their names to .npy files), a function, a
    Calibration (see `onnxprune.data.open_data`). With them the criterion is obs and repair is reconstruction by
    default; without, l1 and merging. `metric` (a function, or "file.py:function") scores the path of a model,
    higher is better; the result may score at most `max_drop` less than the original. Without `ratio`, `target` and
    `plan`, the largest ratio that this allows is searched for; GateError if there is none. With `plan`, exactly that is
    removed. With a `schedule` (linear, exp, cos, cube) it leaves in `steps` (3), each followed by repair.

    With `sparsity` or `pattern`, the weights of what stays become sparse after that, as `sparsify` does it with the
    same `method`, `emit`, `lock` and `max_error`, and with this `scope`, `include` and `exclude`; repair still aims at
    the original.

    `verify=False` skips the proof (for experiments; the commands never do). `allow_unproven`: the result is written
    although no input tells whether the plan is right; otherwise that is an error. Raises an OnnxPruneError; then
    nothing was written. With `bench` (as the commands do) the result is timed in turn with the original: about 2 s,
    on one sample; a model that cannot be timed is a note. `report` is an HTML file to write; if that fails, the model
    stays, and `problem` says what it was.
    """
    given = {**dict(locals()), "include": listed(include), "exclude": listed(exclude)}
    clock = Clock(progress)
    asked = _asked(given)
    source = opened(model)
    data, metric = anchored(data), anchored(metric)
    protected = (*source.origin, *files_of(data), *files_of(metric))
    place = destination(source, out, SUFFIX, protected, force=force, external_data=external_data, dry_run=dry_run)
    check_bench(given)
    page = shrink_file(given, place)
    if metric is not None:
        clock.start("measure")
    # threads of BLAS spin against those of ONNX Runtime: several times slower, and the products here are small
    with threadpool_limits(1, user_api="blas"), open_gate(metric, max_drop, source) as gate, blaming(source):
        clock.start("trace")
        traced, given_samples = traced_for(source, data, preprocess, samples, seed, units=asked.units)
        if asked.plan is not None:
            check_source(asked.plan, traced)
        elif asked.units == "heads" and not traced.has_heads:
            raise UsageError(
                "--units heads has no effect: no axis of this model is split into heads.",
                hint="Leave out --units, to remove channels.",
            )
        found = None
        if given_samples is not None:
            clock.start("capture")
            found = open_samples(given_samples, traced, max_memory=max_memory, seed=seed)
        run = Run(traced, asked.request, asked.plan, found, gate, threads, clock, place, asked.sparse)
        search = max_drop is not None and asked.free
        by_macs = data is not None and scope is None and asked.units != "blocks"  # as a target would choose
        choice = largest_within(run, plan_in_steps, by_macs=by_macs) if search else plan_in_steps(run)
        result = outcome(source, choice, run)
        result = replace(result, notes=(*result.notes, *asked.notes))
        if search:
            result = replace(result, asked_ratio=None)
        if dry_run or (choice.plan.removed_count == 0 and asked.sparse is None):
            result = _unwritten(result, run, choice, tried=search)
        else:
            result = _written(result, publish(run, choice, verify=verify, allow_unproven=allow_unproven))
        result = replace(result, metric=gate.summary() if gate else None)
    result, times = with_timing(result, source, found, clock, given)
    result = replace(result, seconds=clock.finish())
    if page is None:
        return result
    commands = shrink_commands(given, shrink.__kwdefaults__ or {})
    return with_report(page, made_page(result, environment(), commands, dry_run=dry_run, bench=times), result)


@dataclass(frozen=True)
class _Asked:
    """What a call asks for. `plan` is without what it says of zeros: weights become sparse as this call says.

    `free`: it does not say how much is to leave.
    """

    request: Request
    sparse: SparseRequest | None
    plan: Plan | None
    units: str
    free: bool
    notes: tuple[str, ...] = ()


def _asked(given: Mapping[str, Any]) -> _Asked:
    """Raises UsageError."""
    plan: Plan | None = given["plan"]
    units = given["units"] if plan is None else plan.units
    asked = {**{name: given[name] for name in ASKED}, "units": units}
    request = resolve(**asked, with_data=given["data"] is not None)
    sparse = resolve_stage(request, **{name: given[name] for name in STAGE_OPTIONS})
    free = given["ratio"] is None and given["target"] is None
    if plan is None:
        return _Asked(request, sparse, None, units, free)
    if not free:
        raise UsageError("a plan says exactly what to remove: neither a ratio nor a target has an effect with it")
    notes = (DENSE,) if sparse is None and "sparsity" in plan.options else ()
    options = {key: value for key, value in plan.options.items() if key != "sparsity"}
    return _Asked(request, sparse, replace(plan, sparsity=None, options=options), units, False, notes)


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
