"""`bench`: probe every model in processes of its own, time all of them in turn, compare, profile, judge."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from onnxprune.benching.baseline import Baseline, compare_with, differences, is_document, read_baseline
from onnxprune.benching.candidates import PROBES, Candidate, Session, opened, prepare, probe
from onnxprune.benching.inputs import Fed, check_shapes
from onnxprune.benching.options import Sizes, limit, positive_list, settings, shapes
from onnxprune.benching.results import SAME, SLOWER, BenchResult, Gate, Rejected, Setting, SettingResult
from onnxprune.benching.rounds import MIN_ROUNDS
from onnxprune.benching.running import profiled, timed
from onnxprune.benching.statistics import MARGIN
from onnxprune.capture.operators import remark
from onnxprune.data import anchored
from onnxprune.errors import ModelError, UsageError
from onnxprune.measure.timing import WINDOW
from onnxprune.model.load import Model
from onnxprune.options.others import BenchOptions
from onnxprune.options.running import MOST_THREADS
from onnxprune.results import ProgressCallback
from onnxprune.results.providers import providers
from onnxprune.results.system import Environment
from onnxprune.results.units import format_seconds, listed

SECONDS = 5.0
LEAST_RUNS = 2 * WINDOW + MIN_ROUNDS  # of each model: to warm up, and for an interval


@dataclass(frozen=True)
class Request:
    """What was asked for, as values. `baseline`: an earlier result instead of a reference model."""

    models: tuple[str | Path | Model, ...]
    settings: tuple[Setting, ...]
    shapes: Sizes
    data: Any
    preprocess: str | None
    seconds: float
    runs: int | None
    profile: bool
    baseline: Baseline | None
    limit: float | None
    seed: int
    probes: int = PROBES
    fed: Fed | None = None  # what all models get, instead of data or noise
    most_seconds: float | None = None  # that all of it may take, instead of what it takes
    explain: bool = False  # profile where a model is not clearly faster


def request(models: Sequence[str | Path | Model], machine: Environment, asked: BenchOptions) -> Request:
    """Check everything that can be checked before a model is read. Raises UsageError."""
    if not models:
        raise UsageError("bench needs at least one model.")
    if asked.seconds is not None and asked.runs is not None:
        raise UsageError("--seconds and --runs exclude each other: one says how long, the other how often.")
    if asked.seconds is not None and not 0 < asked.seconds < float("inf"):
        raise UsageError(f"--seconds is a time above 0, found {asked.seconds}")
    if asked.runs is not None and asked.runs < 1:
        raise UsageError(f"--runs is at least 1, found {asked.runs}")
    if asked.data is not None and asked.shape:
        raise UsageError("--shape has no effect with --data, which has shapes of its own.")
    if asked.data is None and asked.preprocess is not None:
        raise UsageError("--preprocess needs --data: it says how images become inputs.")
    found, document = list(models), None
    baseline = asked.baseline
    if baseline is not None:
        if not isinstance(baseline, Model) and is_document(Path(baseline)):
            document = read_baseline(Path(baseline))
        else:
            found.insert(0, baseline)
    bound = limit(asked.fail_above)
    if bound is not None and document is None and len(found) < 2:
        raise UsageError("--fail-above needs something to compare with: a second model, or --baseline.")
    batches = None if asked.batch is None else positive_list(asked.batch, "--batch")
    counts = (machine.cores,) if asked.threads is None else positive_list(asked.threads, "--threads", MOST_THREADS)
    names = providers(listed(asked.provider), machine.providers)
    return Request(
        tuple(found),
        settings(counts, batches, names),
        shapes(asked.shape),
        anchored(asked.data),
        asked.preprocess,
        SECONDS if asked.seconds is None else asked.seconds,
        asked.runs,
        asked.profile,
        document,
        bound,
        asked.seed,
    )


def run(asked: Request, machine: Environment, progress: ProgressCallback | None) -> BenchResult:
    """Do what was asked. Raises an OnnxPruneError if there is nothing to show: see `survivors`."""
    start = time.perf_counter()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxprune-bench-")))
        session = Session(folder, asked.seconds, asked.runs, asked.seed, progress)
        everybody, rejected, reference = opened(asked.models, stack)
        survivors(len(everybody), rejected, reference, len(asked.models))
        check_shapes(asked.shapes, [candidate.model for candidate in everybody])
        session.steps = len(asked.settings) * (len(everybody) + 1) + (asked.profile or asked.explain)
        for setting in asked.settings:
            try_all(session, everybody, setting, asked)
        rejected += [Rejected(c.name, c.refused) for c in everybody if c.refused is not None]
        candidates = [c for c in everybody if c.refused is None]
        survivors(len(candidates), rejected, reference, len(asked.models))
        affordable(candidates, asked)
        results = []
        for setting in asked.settings:
            session.tell("timing all models in turn")
            results.append(timed(session, candidates, setting))
        profiles = comparisons = ()
        slow = asked.explain and any(c.verdict in (SAME, SLOWER) for result in results for c in result.comparisons)
        if asked.profile or slow:
            session.tell("profiling")
            profiles, comparisons = profiled(session, candidates, asked.settings[0])  # type: ignore[assignment]
        notes = [note for c in candidates for s in asked.settings for note in c.fed[s].notes]
        notes += [note for c in candidates if (note := remark(c.name, c.model.proto))]
        if asked.baseline is not None:
            results, unknown = against(asked.baseline, results)
            notes += [*unknown, *differences(asked.baseline, runtime_of(machine), machine.cpu)]
        first = candidates[0].fed[asked.settings[0]]
        return BenchResult(
            models=tuple(c.summary for c in candidates),
            reference=candidates[0].name if len(candidates) > 1 else None,
            inputs=first.used,
            source=first.source,
            settings=tuple(results),
            rejected=tuple(rejected),
            profiles=profiles,
            profile_comparisons=comparisons,
            gate=judged(asked.limit, results),
            margin=MARGIN,
            seed=asked.seed,
            runtime=runtime_of(machine),
            cpu=machine.cpu,
            cores=machine.cores,
            notes=tuple(dict.fromkeys((*notes, *remarks(results, machine)))),
            seconds=time.perf_counter() - start,
        )


def survivors(left: int, rejected: Sequence[Rejected], reference: str, wanted: int) -> None:
    """Raise ModelError if what is left cannot answer what was asked: nothing is, the reference is gone, or a comparison
    has lost its other side.
    """
    gone = next((one for one in rejected if one.model == reference), None)
    if gone is None and left >= min(wanted, 2):
        return
    one = gone or rejected[0]
    hint = (
        None if wanted == 1 else "It is what the others are compared with." if gone else "Nothing is left to compare."
    )
    raise ModelError(f"{one.model} could not be measured: {one.reason}", hint=hint)


def affordable(candidates: Sequence[Candidate], asked: Request) -> None:
    """Raise ModelError if timing would take more than is allowed, by what loading and running took just now."""
    if asked.most_seconds is None:
        return
    probes = [candidate.probes[setting] for candidate in candidates for setting in asked.settings]
    runs = sum(found[0]["later_run_s"] for found in probes)
    expected = sum(found[0]["load_s"] for found in probes) + LEAST_RUNS * runs
    if expected > asked.most_seconds:
        raise ModelError(
            f"one run of each takes {format_seconds(runs)} together, so that timing takes {format_seconds(expected)}: "
            f"onnxprune bench {' '.join(candidate.name for candidate in candidates)}"
        )


def try_all(session: Session, candidates: Sequence[Candidate], setting: Setting, asked: Request) -> None:
    """Feeds and probes of all candidates that are still there. Larger sizes are chosen if the usual ones do not run."""
    for larger in (False, True):
        left = [candidate for candidate in candidates if candidate.refused is None]
        prepare(session, left, setting, asked, larger=larger)
        free = any(used.chosen for candidate in left for used in candidate.fed[setting].used)
        failures = []
        for candidate in left:
            session.tell(f"{candidate.name}: loading, first run, memory")
            problem = probe(session, candidate, setting, asked.probes)
            if problem is not None:
                failures.append((candidate, problem))
        if larger or not free or not any(problem["stage"] == "run" for _, problem in failures):
            break
    for candidate, problem in failures:
        candidate.refused = f"ONNX Runtime cannot {problem['stage']} it ({described(setting)}): {problem['error']}"


def described(setting: Setting) -> str:
    """A setting in words."""
    batch = "" if setting.batch is None else f", batch {setting.batch}"
    return f"{setting.threads} thread{'s' if setting.threads > 1 else ''}{batch}, {setting.provider}"


def against(baseline: Baseline, results: Sequence[SettingResult]) -> tuple[list[SettingResult], list[str]]:
    """The results with comparisons to an earlier document instead of those among the models; what it does not have."""
    found, unknown = [], []
    for result in results:
        pairs = [(m, compare_with(baseline, result.setting, m, MARGIN)) for m in result.measurements]
        unknown += [
            f"{baseline.name} has nothing to compare {m.model} with ({described(result.setting)}, "
            f"{m.samples} samples per inference)"
            for m, one in pairs
            if one is None
        ]
        found.append(replace(result, comparisons=tuple(one for _, one in pairs if one is not None)))
    return found, unknown


def judged(bound: float | None, results: Sequence[SettingResult]) -> Gate | None:
    """What `--fail-above` says of all comparisons. Raises UsageError if there are none."""
    if bound is None:
        return None
    comparisons = [one for result in results for one in result.comparisons]
    if not comparisons:
        raise UsageError("--fail-above has nothing to compare with: --baseline has no such model in this setting.")
    failed = tuple(one for one in comparisons if one.ratio.low > 1 + bound)
    undecided = tuple(one for one in comparisons if one.ratio.low <= 1 + bound < one.ratio.high)
    return Gate(bound, failed, undecided)


def runtime_of(machine: Environment) -> str:
    return f"ONNX Runtime {machine.packages.get('onnxruntime') or machine.packages.get('onnxruntime-gpu') or '?'}"


def remarks(results: Sequence[SettingResult], machine: Environment) -> list[str]:
    """What a reader should know about how it was measured."""
    found = []
    if any(result.setting.threads > machine.cores for result in results):
        found.append(f"more threads than the {machine.cores} cores: they wait for each other")
    restless = [m.model for result in results for m in result.measurements if not m.stable]
    if restless:
        found.append(f"the warm-up of {', '.join(dict.fromkeys(restless))} ended before the times were stable")
    if any(result.sessions == 1 and result.comparisons for result in results):
        found.append(
            "one session per model, as opening another takes long: where it lies in memory is part of the ratio"
        )
    few = min((result.rounds for result in results), default=6)
    if few < 6:
        found.append("fewer than 6 rounds are too few for an interval of 95 %: those shown are at most the range")
    return found
