"""The function of the API that holds models against budgets: `check`. Nothing here prints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnxprune.checking.results import CheckResult
from onnxprune.results import ProgressCallback


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

    Args:
        *models: Paths. Default: those of the configuration.
        max_size: Bytes of the file: "10MB", or a share of the `baseline`: "50%".
        max_params: Numbers in the weights, or a share of the `baseline`.
        max_macs: Multiply-accumulates, or a share of the `baseline`.
        max_latency_ratio: The time by that of the baseline; missed if its whole 95 % interval is above.
        min_agreement: The share of `data` on which the answers are those of the baseline, 0 to 1.
        max_error: The largest relative error of an output against the baseline's, on `data`.
        min_metric: The least value of `metric`.
        max_drop: How much less than the baseline `metric` may be.
        baseline: The model to compare with.
        data: Samples, as in `shrink`.
        preprocess: Of images, as in `shrink`.
        metric: A function that scores the path of a model, or "file.py:function"; higher is better.
        only: Kinds of budgets; the others are left out.
        strict: What is undecided counts as missed.
        threads: Of the runtime, as in `bench`.
        batch: As in `bench`.
        seconds: As in `bench`.
        runs: As in `bench`.
        seed: Of random inputs.
        progress: Hears how far it is.

    Returns:
        Every budget of every model with what was found and the verdict. `failure()` is the error of what was missed. A
        model that cannot be checked is in the result.

    Raises:
        UsageError: Budgets are wrong, contradict each other, or need a baseline or data that is not there.
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
