"""The function of the API that measures latency: `bench`. Nothing here prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxprune.api.environment import environment
from onnxprune.benching.results import BenchResult
from onnxprune.model.load import Model
from onnxprune.report.html.bench import bench_page
from onnxprune.report.html.command import bench_commands
from onnxprune.report.html.write import bench_file
from onnxprune.results import ProgressCallback


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
    """Latency of models in ONNX Runtime, run in turn; each is compared with the first one, or with `baseline`.

    Args:
        *models: Paths, or models in memory.
        threads: Of the runtime; several are measured one after another. Default: all cores.
        batch: Samples in one inference; several are measured one after another. Default: what the models fix or the
            data gives, else 1.
        provider: Execution providers: "cpu" (default), "cuda", ...
        shape: Input or symbolic size -> size: `{"height": 224}`, or "height=224".
        data: Inputs, as in `shrink`. Default: random numbers.
        preprocess: Of images, as in `shrink`.
        seconds: How long each setting is measured (5).
        runs: In how many rounds instead.
        profile: Also say where the time goes, operator by operator and layer by layer.
        baseline: A model, or the JSON of an earlier result, to compare with.
        fail_above: A model whose whole 95 % interval of the time ratio is above 1 plus this share (0.05) is a failure.
        report: An HTML file to write.
        force: Whether the report may replace a file.
        seed: Of random inputs and of the order.
        progress: Hears how far it is.

    Returns:
        Every measurement with its 95 % interval, every comparison with its verdict. `failure()` is the error of a
        rejected model, or of a ratio that is `fail_above`. A model that cannot be run is in `rejected`, if there is
        still something to compare.

    Raises:
        UsageError: An option is wrong, or a path does not exist.
        ModelError: No model can be run.
        DataError: `data` does not fit the models.
        OutputError: The report cannot be written.
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
