"""`sweep` of the API: many calls of `shrink`, and the frontier of what came of them. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnxprune.api.environment import environment
from onnxprune.capture.samples import files_of, opened_data
from onnxprune.choose.ranking import matching
from onnxprune.choose.request import OPTIONS
from onnxprune.data import anchored
from onnxprune.errors import UsageError
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.sources import beside, opened
from onnxprune.report.html.sweep import sweep_commands, sweep_page
from onnxprune.report.html.write import open_report
from onnxprune.results import ProgressCallback
from onnxprune.results.units import listed, parse_bytes
from onnxprune.sparsifying.request import STAGE_OPTIONS
from onnxprune.sweeping.results import SweepResult

SHARED = (*OPTIONS, *STAGE_OPTIONS, "max_memory", "external_data", "allow_unproven")
"""Options of `shrink` that all points have."""


def default_folder(model: Path) -> Path:
    """Where points go by default: beside the model, in NAME.sweep."""
    return beside(model, ".sweep")


def sweep(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    ratios: str | Sequence[str | float] = (),
    targets: str | Sequence[str] = (),
    criteria: str | Sequence[str] = (),
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
    external_data: Any = "auto",
    allow_unproven: bool = False,
    bench: bool = True,
    threads: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    runs: int | None = None,
    jobs: int = 0,
    scheduler: str | None = None,
    report: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> SweepResult:
    """Shrink `model` by every one of `ratios` ([0.2, 0.4] or "0.2,0.4") and `targets` (default: 75, 50, 25 % of MACs)
    with every one of `criteria`, and say which results are worth having: the Pareto frontier of quality (`metric`, else
    agreement, else output error on held-out `data`) against latency, size and MACs.

    Points are kept in the folder `out` (default: beside the model); what is finished there is not computed again. They
    are computed in `jobs` processes at a time (0: as many as fit), or by the Dask cluster at `scheduler`; latency is
    measured here in any case, if `bench`, as `bench` does with `threads`, `batch`, `seconds` and `runs`. `report` is an
    HTML file to write. The other options are those of `shrink`. A point that fails is in the result;
    `SweepResult.failure` is an error if all do. Raises an OnnxPruneError for what concerns all points.
    """
    given = {**dict(locals()), "include": listed(include), "exclude": listed(exclude)}
    from onnxprune.sweeping import cluster, timing
    from onnxprune.sweeping.points import measures, points_of
    from onnxprune.sweeping.run import Request, run

    options = {name: given[name] for name in SHARED}
    asked = {name: given[name] for name in (*OPTIONS, "preprocess", "samples")}
    sparse = {name: given[name] for name in STAGE_OPTIONS}
    points = points_of(ratios, targets, criteria, asked, sparse, with_data=data is not None)
    alone = measures(points, options)
    _check(given, alone)
    if scheduler is not None:
        cluster.require()
    machine = environment()
    source = opened(model)
    how = timing.How(threads, batch, seconds, runs) if bench else None
    timing.request([Path("model")], how or timing.How(), machine, None, seed)
    if out is None and source.path is None:
        raise UsageError("a model that was not read from a file needs a folder for the points: out")
    data, metric = anchored(data), anchored(metric)
    if out is None:
        out = default_folder(source.path if isinstance(model, Model) else Path(model))  # type: ignore[arg-type]
    protected = (*source.origin, *files_of(data), *files_of(metric))
    page = open_report(report, force=force, inputs=protected)
    found = None if data is None else opened_data(data, source, preprocess, samples, seed)
    for name in ("include", "exclude"):
        matching(build(source), given[name], f"--{name}")
    request = Request(source, Path(out), points, options, found, metric, how, alone, threads, jobs, scheduler, seed)
    result = run(request, machine, progress)
    if page is not None:
        commands = sweep_commands(given, points, sweep.__kwdefaults__ or {})
        page.write(sweep_page(result, machine, commands))
    return result


def _check(given: dict[str, Any], alone: bool) -> None:
    """What contradicts itself. Raises UsageError."""
    if parse_bytes(given["max_memory"]) <= 0:
        raise UsageError(f"--max-memory must be more than nothing, found {given['max_memory']!r}")
    if given["jobs"] < 0:
        raise UsageError(f"--jobs is a number of processes, found {given['jobs']}")
    if alone and (given["scheduler"] is not None or given["jobs"] > 1):
        flag = "--scheduler" if given["scheduler"] is not None else f"--jobs {given['jobs']}"
        raise UsageError(
            f"latency targets and what is auto (--multiple-of, --pattern) are measured here, one point at a time: "
            f"not with {flag}.",
            hint=f"Leave out {flag}, or say what is not measured: --targets macs=...",
        )
    names = [f"--{name}" for name in ("threads", "batch", "seconds", "runs") if given[name] is not None]
    if not given["bench"] and names and not (alone and names == ["--threads"]):
        raise UsageError(f"{names[0]} has no effect with --no-bench.", hint="It says how latency is measured.")
