"""What `check` gives back: per model and budget what was allowed, what was found, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.checking.verdicts import FAILED, PASSED, UNDECIDED, Check
from onnxprune.checking.words import sentence
from onnxprune.errors import GateError, OnnxPruneError
from onnxprune.results import ModelSummary
from onnxprune.results.units import plural


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
        for model in self.models:
            if model.error is not None:
                error = model.error
                start = "" if model.name in error.message else f"{model.name}: "
                return type(error)(f"{start}{error.message}", hint=error.hint)
        missed = [(model, check) for model in self.models for check in model.checks if self.failing(check)]
        if not missed:
            return None
        model, check = missed[0]
        total = sum(len(model.checks) for model in self.models)
        count = f"{len(missed)} of {plural(total, 'budget')} missed" if total > 1 else "the budget is missed"
        strict = " (--strict)" if check.verdict == UNDECIDED else ""
        return GateError(f"{count}: {model.name}: {sentence(check)}{strict}")
