"""What `check` gives back: per model and budget what was allowed, what was found, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.checking.verdicts import FAILED, PASSED, UNDECIDED, Check
from onnxprune.checking.words import sentence
from onnxprune.errors import GateError, OnnxPruneError
from onnxprune.results import ModelSummary
from onnxprune.results.shown import OneLine, Shown
from onnxprune.results.units import plural


@dataclass(frozen=True, repr=False)
class CheckedModel(OneLine):
    """A model with its budgets.

    Attributes:
        name: Its file name.
        path: Where it is.
        summary: What it is and costs; None if it cannot be read.
        baseline: Name of the model that it was compared with; None without one.
        checks: One a budget.
        error: Why not everything was checked; None if everything was.
    """

    name: str
    path: Path
    summary: ModelSummary | None
    baseline: str | None
    checks: tuple[Check, ...]
    error: OnnxPruneError | None = None

    def _words(self) -> str:
        found = [f"{check.kind} {check.verdict}" for check in self.checks]
        return f"{self.name}: {', '.join([*found, *([] if self.error is None else [self.error.message])])}"


@dataclass(frozen=True, repr=False)
class CheckResult(Shown):
    """Outcome of `check`.

    Attributes:
        models: Those that were checked.
        strict: Whether what is undecided counts as failed.
        seconds: How long all took.
    """

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
        """Whether nothing makes the whole fail."""
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

    @property
    def words(self) -> str:
        """One line for all."""
        checks = [check for model in self.models for check in model.checks]
        missed = sum(map(self.failing, checks))
        undecided = sum(check.verdict == UNDECIDED for check in checks)
        broken = sum(model.error is not None for model in self.models)
        parts = [f"{plural(len(checks), 'budget')} of {plural(len(self.models), 'model')}"]
        parts += [f"{missed} missed" if missed else "none missed"]
        parts += [f"{undecided} undecided"] if undecided else []
        parts += [f"{plural(broken, 'model')} could not be checked"] if broken else []
        return f"{'passed' if self.passed else 'failed'}: {', '.join(parts)}"

    def _words(self) -> str:
        return self.words
