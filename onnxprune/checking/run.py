"""`check`: every model is held against its budgets, also if another one misses its own or cannot be read."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from onnxprune.checking.budgets import SCORED, Budget
from onnxprune.checking.measure import Subject
from onnxprune.checking.results import CheckedModel, CheckResult
from onnxprune.checking.verdicts import KINDS
from onnxprune.errors import OnnxPruneError, UsageError
from onnxprune.measure.metric import open_metric
from onnxprune.options.running import SeededRuns
from onnxprune.results import Progress, ProgressCallback


def run(
    budgets: Sequence[Budget],
    how: SeededRuns,
    *,
    metric: str | Callable[..., Any] | None,
    strict: bool,
    progress: ProgressCallback | None,
) -> CheckResult:
    """Check all. Raises UsageError if a metric is missing or has no effect; DataError if it cannot be loaded."""
    start = time.perf_counter()
    needing = [one for one in budgets if one.of(SCORED)]
    if needing and metric is None:
        raise UsageError(
            f"the budget of {needing[0].name} for {needing[0].of(SCORED)[0].kind} needs --metric file.py:function.",
            hint="A configuration never names code; --only leaves such budgets out: --only size --only params.",
        )
    if metric is not None and not needing:
        raise UsageError("--metric has no effect: no budget is for it.", hint="Give --min-metric or --max-drop.")
    files = [budget.anchored() for budget in budgets]
    with contextlib.ExitStack() as stack:
        opened = None if metric is None else stack.enter_context(open_metric(metric))
        models = []
        for number, budget in enumerate(budgets):

            def tell(what: str, done: int = number, name: str = budget.name) -> None:
                if progress is not None:
                    progress(Progress("check", done, len(budgets), f"{name}: {what}"))

            models.append(_checked(budget, Subject(files[number], how, opened), tell))
    return CheckResult(tuple(models), strict, time.perf_counter() - start)


def _checked(budget: Budget, subject: Subject, tell: Callable[[str], None]) -> CheckedModel:
    error: OnnxPruneError | None = None
    checks = []
    tell("reading")
    try:
        summary = subject.summary
    except OnnxPruneError as problem:
        return CheckedModel(budget.name, budget.path, None, _name(budget.baseline), (), problem)
    for name, stage in subject.stages():
        tell(name)
        try:
            for check in stage():
                checks.append(check)
        except OnnxPruneError as problem:
            error = error or problem
    checks.sort(key=lambda check: KINDS.index(check.kind))
    return CheckedModel(budget.name, budget.path, summary, _name(budget.baseline), tuple(checks), error)


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
