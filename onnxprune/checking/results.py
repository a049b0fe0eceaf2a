"""What `check` gives back: per model and budget what was allowed, what was found, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import OnnxPruneError
from onnxprune.results import ModelSummary

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
SIZE, PARAMS, MACS, LATENCY = "size", "params", "macs", "latency"
AGREEMENT, ERROR, METRIC, DROP = "agreement", "error", "metric", "drop"
KINDS = (SIZE, PARAMS, MACS, LATENCY, AGREEMENT, ERROR, METRIC, DROP)
COSTS = (SIZE, PARAMS, MACS)
AT_LEAST = frozenset({AGREEMENT, METRIC})
"""Budgets that are a least value; all others are a largest one."""


@dataclass(frozen=True)
class Check:
    """One budget of one model.

    `allowed` and `measured` are in the unit of the kind: size in bytes; params and macs as counts; latency as the time
    by that of the baseline; agreement as a share; error relative to the baseline's outputs; metric and drop in that of
    the user's metric. `low` and `high`: the 95 % interval, where there is one. `share`: the share of the baseline that
    was asked for instead of an amount. `reason` says why nothing could be decided, or what to know about a figure.
    """

    kind: str
    allowed: float
    measured: float
    verdict: str
    low: float | None = None
    high: float | None = None
    share: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class CheckedModel:
    """A model with its budgets. `summary` is None if it cannot be read; `error` is why not everything was checked."""

    name: str
    path: Path
    summary: ModelSummary | None
    baseline: str | None
    checks: tuple[Check, ...]
    error: OnnxPruneError | None = None


@dataclass(frozen=True)
class CheckResult:
    """Outcome of `check`. `strict`: what is undecided counts as failed."""

    models: tuple[CheckedModel, ...]
    strict: bool
    seconds: float

    def failing(self, check: Check) -> bool:
        """Whether a verdict makes the whole fail."""
        return check.verdict == FAILED or (self.strict and check.verdict == UNDECIDED)

    def verdict(self, model: CheckedModel) -> str:
        """That of a model: failed (also if it could not be checked), undecided or passed."""
        if model.error is not None or any(map(self.failing, model.checks)):
            return FAILED
        return UNDECIDED if any(check.verdict == UNDECIDED for check in model.checks) else PASSED

    @property
    def passed(self) -> bool:
        return all(self.verdict(model) != FAILED for model in self.models)

    def failure(self) -> OnnxPruneError | None:
        """What makes the command fail although there is a result: a model that could not be checked, or a budget."""
        from onnxprune.checking.words import failure

        return failure(self)
