"""The function of the API that holds models against budgets: `check`. Nothing here prints."""

from __future__ import annotations

from pathlib import Path

from onnxprune.api.public import public
from onnxprune.checking.results import CheckResult
from onnxprune.options.declare import values
from onnxprune.options.others import Budgets, CheckOptions


@public(CheckOptions)
def check(options: CheckOptions, *models: str | Path) -> CheckResult:
    """Hold models against budgets: those of the configuration in force (`[[tool.onnxprune.check.models]]`), or `models`
    against their entries there and what is given here, which wins.

    `max_size`, `max_params`, `max_macs` are amounts ("10MB"), or shares of the `baseline` ("50%"). `max_latency_ratio`
    is missed if the whole 95 % interval of the time by that of the baseline is above it; with `strict`, if a part is.

    Args:
        *models: Paths. Default: those of the configuration.

    Returns:
        Every budget of every model with what was found and the verdict. `failure()` is the error of what was missed. A
        model that cannot be checked is in the result.

    Raises:
        UsageError: Budgets are wrong, contradict each other, or need a baseline or data that is not there.
    """
    from onnxprune.checking.budgets import only as kept
    from onnxprune.checking.entries import budgets
    from onnxprune.checking.run import run
    from onnxprune.options.config import read

    asked = kept(budgets(models, values(options, Budgets), read()), options.only)
    return run(asked, options, metric=options.metric, strict=options.strict, progress=options.told)
