"""The functions of the API that only measure: `bench`, `check`, `environment`. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxprune.benching.results import BenchResult
from onnxprune.checking.results import CheckResult
from onnxprune.model.load import Model
from onnxprune.report.html.bench import bench_page
from onnxprune.report.html.command import bench_commands
from onnxprune.report.html.write import bench_file
from onnxprune.results import ProgressCallback
from onnxprune.results.system import Environment


def bench(
    *models: str | Path | Model,
    threads: str | int | Sequence[int] | None = None,
    batch: str | int | Sequence[int] | None = None,
    provider: str | Sequence[str] = (),
    shape: Sequence[str] | Mapping[str, int | Sequence[int]] = (),
    data: Any = None,
    preprocess: str | None = None,
    seconds: float | None = None,
    runs: int | None = None,
    profile: bool = False,
    baseline: str | Path | Model | None = None,
    fail_above: str | float | None = None,
    report: str | Path | None = None,
    force: bool = False,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> BenchResult:
    """Latency of models in ONNX Runtime, run in turn; each compared with the first one, or with `baseline`.

    Every combination of `threads` (all cores), `batch` and `provider` (cpu) is measured for `seconds` (5), or in `runs`
    rounds. `shape` maps inputs or symbolic sizes to sizes; `data` are inputs as in `shrink`. `baseline` is a model, or
    the JSON of an earlier result. A model that cannot be run is in `rejected` if there is still something to compare;
    otherwise ModelError. `BenchResult.failure` is the error of a rejected model, or of a ratio that is `fail_above`
    (0.05) or more above 1 with its whole interval. `report` is an HTML file to write. Raises an OnnxPruneError.
    """
    from onnxprune.benching.bench import request, run

    given, machine = dict(locals()), environment()
    page = bench_file(given)
    asked = request(
        models,
        machine,
        threads=threads,
        batch=batch,
        provider=provider,
        shape=shape,
        data=data,
        preprocess=preprocess,
        seconds=seconds,
        runs=runs,
        profile=profile,
        baseline=baseline,
        fail_above=fail_above,
        seed=seed,
    )
    result = run(asked, machine, progress)
    if page is not None:
        page.write(bench_page(result, machine, bench_commands(given, bench.__kwdefaults__ or {})))
    return result


def check(
    *models: str | Path,
    max_size: str | int | None = None,
    max_params: str | int | None = None,
    max_macs: str | int | None = None,
    max_latency_ratio: str | float | None = None,
    min_agreement: str | float | None = None,
    max_error: str | float | None = None,
    min_metric: float | None = None,
    max_drop: float | None = None,
    baseline: str | Path | None = None,
    data: Any = None,
    preprocess: str | None = None,
    metric: str | Callable[[str], float] | None = None,
    only: Sequence[str] = (),
    strict: bool = False,
    threads: int | None = None,
    batch: int | None = None,
    seconds: float | None = None,
    runs: int | None = None,
    seed: int = 0,
    progress: ProgressCallback | None = None,
) -> CheckResult:
    """Hold models against budgets: those of the configuration in force (`[[tool.onnxprune.check.models]]`), or `models`
    against their entries there and what is given here, which wins.

    `max_size`, `max_params`, `max_macs` are amounts ("10MB"), or shares of the `baseline` ("50%"). `max_latency_ratio`
    is missed if the whole 95 % interval of the time by that of the baseline is above it; `strict`: if a part is.
    `min_agreement` and `max_error` compare the outputs with the baseline's on `data`; `min_metric` and `max_drop` are
    those of `metric`. `only`: kinds of budgets, the others are left out. `threads` (all cores), `batch`, `seconds`,
    `runs` are those of `bench`. `CheckResult.failure` is the error of what was missed. Raises UsageError for budgets
    that are wrong; a model that cannot be checked is in the result.
    """
    from onnxprune.checking.budgets import KEYS
    from onnxprune.checking.budgets import only as kept
    from onnxprune.checking.entries import budgets
    from onnxprune.checking.measure import How
    from onnxprune.checking.run import run
    from onnxprune.options.config import read

    limits = (max_size, max_params, max_macs, max_latency_ratio, min_agreement, max_error, min_metric, max_drop)
    values = dict(zip(KEYS, (*limits, baseline, data, preprocess), strict=True))
    asked = kept(budgets(models, values, read()), only)
    how = How(threads, batch, seconds, runs, seed)
    return run(asked, how, metric=metric, strict=strict, progress=progress)


def environment() -> Environment:
    """Versions and hardware."""
    from onnxprune.results.system import environment as read

    return read()
