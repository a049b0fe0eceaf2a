"""The function of the API that measures latency: `bench`. Nothing here prints."""

from __future__ import annotations

from pathlib import Path

from onnxprune.api.environment import environment
from onnxprune.api.public import public
from onnxprune.benching.results import BenchResult
from onnxprune.model.load import Model
from onnxprune.options.others import BenchOptions
from onnxprune.report.html.bench import bench_page
from onnxprune.report.html.command import command
from onnxprune.report.html.write import bench_file


@public(BenchOptions)
def bench(options: BenchOptions, *models: str | Path | Model) -> BenchResult:
    """Latency of models in ONNX Runtime, run in turn; each compared with the first one, or with `baseline`.

    Every combination of `threads`, `batch` and `provider` is a setting, and measured in turn. `shape` maps inputs or
    symbolic sizes to sizes: `{"height": 224}`, or "height=224".

    Args:
        *models: Paths, or models in memory.

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

    machine = environment()
    page = bench_file(options, models)
    result = run(request(models, machine, options), machine, options.told)
    if page is not None:
        page.write(bench_page(result, machine, [command(options, models)]))
    return result
