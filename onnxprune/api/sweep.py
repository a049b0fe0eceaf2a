"""`sweep` of the API: many calls of `shrink`, and the frontier of what came of them. Nothing here prints."""

from __future__ import annotations

from pathlib import Path

from onnxprune.api.environment import environment
from onnxprune.api.provided import provided
from onnxprune.api.public import public
from onnxprune.capture.samples import files_of, opened_data
from onnxprune.choose.ranking import matching
from onnxprune.choose.request import GIVE_DATA
from onnxprune.data import anchored
from onnxprune.errors import UsageError
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.sources import beside, opened
from onnxprune.model.strangers import require_known
from onnxprune.options.declare import declared
from onnxprune.options.running import TimedRuns
from onnxprune.options.shrinking import SweepOptions
from onnxprune.quantizing.processor import this_processor
from onnxprune.report.html.sweep import sweep_commands, sweep_page
from onnxprune.report.html.write import open_report
from onnxprune.results.units import parse_bytes
from onnxprune.sweeping.results import SweepResult


def default_folder(model: Path) -> Path:
    """Where points go by default: beside the model, in NAME.sweep."""
    return beside(model, ".sweep")


@public(SweepOptions)
def sweep(options: SweepOptions, model: str | Path | Model, out: str | Path | None = None) -> SweepResult:
    """Shrink a model by every one of `ratios` and `targets` (default: 75, 50, 25 % of MACs) with every one of
    `criteria`, and say which results are worth having: the Pareto frontier of quality against latency, size and MACs.

    With `quantize` every result, and the original, is there in int8 as well (static, on `data`).

    Quality is `metric`, else agreement, else output error on held-out `data`. What is finished is not computed again.
    Latency is measured here in any case, if `bench`, as the function `bench` does it.

    Args:
        model: A path, or a Model of `load`.
        out: The folder where points are kept, NAME.sweep beside the model if it is not given.

    Returns:
        Every point with its model, quality and latency. A point that fails is in it; `failure()` is an error if all do.

    Raises:
        UsageError: For options that are wrong, contradict each other, or have no effect.
        OnnxPruneError: For what concerns all points.
    """
    from onnxprune.sweeping import cluster, timing
    from onnxprune.sweeping.integers import quantized_points
    from onnxprune.sweeping.points import measures, points_of
    from onnxprune.sweeping.run import Request, run

    options = provided(options, here=options.scheduler is None)
    points = points_of(options)
    alone = measures(points, options)
    _check(options, alone)
    if options.quantize:
        points += quantized_points(points, this_processor())
    if options.scheduler is not None:
        cluster.require()
    machine = environment()
    source = opened(model)
    require_known(source)
    how = options if options.bench else TimedRuns()
    timing.request([Path("model")], how, machine, None, options.seed)
    if out is None and source.path is None:
        raise UsageError("a model that was not read from a file needs a folder for the points: out")
    data, metric = anchored(options.data), anchored(options.metric)
    if out is None:
        out = default_folder(source.path if isinstance(model, Model) else Path(model))  # type: ignore[arg-type]
    protected = (*source.origin, *files_of(data), *files_of(metric))
    page = open_report(options.report, force=options.force, inputs=protected)
    found = None
    if data is not None:
        found = opened_data(data, source, options.preprocess, options.samples, options.seed)
    for flag, patterns in (("--include", options.include), ("--exclude", options.exclude)):
        matching(build(source), patterns, flag)
    result = run(Request(source, Path(out), points, options, found, metric, alone), machine, options.told)
    if page is not None:
        page.write(sweep_page(result, machine, sweep_commands(options, model, out, points)))
    return result


def _check(options: SweepOptions, alone: bool) -> None:
    """What contradicts itself. Raises UsageError."""
    if parse_bytes(options.max_memory) <= 0:
        raise UsageError(f"--max-memory must be more than nothing, found {options.max_memory!r}")
    if options.quantize and options.data is None:
        raise UsageError("--quantize needs the ranges of activations, and there is no data.", hint=f"{GIVE_DATA}.")
    if alone and (options.scheduler is not None or options.jobs > 1):
        flag = "--scheduler" if options.scheduler is not None else f"--jobs {options.jobs}"
        raise UsageError(
            f"latency targets and what is auto (--multiple-of, --pattern) are measured here, one point at a time: "
            f"not with {flag}.",
            hint=f"Leave out {flag}, or say what is not measured: --targets macs=...",
        )
    given = [one.flag for one in declared(TimedRuns) if getattr(options, one.name) is not None]
    if not options.bench and given and not (alone and given == ["--threads"]):
        raise UsageError(f"{given[0]} has no effect with --no-bench.", hint="It says how latency is measured.")
