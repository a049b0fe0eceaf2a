"""Bounds that need no labels: agreement with the original, and the error of the outputs, on held-out samples."""

from __future__ import annotations

from pathlib import Path

from onnxprune.capture.samples import Samples
from onnxprune.errors import GateError
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.gate import Gate
from onnxprune.model.load import Model
from onnxprune.quantizing.limits import Limits
from onnxprune.results import BoundsSummary, BoundTrial, Fidelity
from onnxprune.results.clock import Clock

BROKEN = 1.0
"""What a candidate loses that breaks a bound, of which nothing may be lost."""


class Bounded(Gate):
    """Stands where the user's gate stands, which it asks as well, if there is one: a candidate passes if it keeps all
    bounds.
    """

    def __init__(
        self, inner: Gate | None, limits: Limits, original: Model, samples: Samples, clock: Clock, threads: int
    ) -> None:
        self.max_drop, self.trials = 0.0, []
        self.inner, self.limits, self.original = inner, limits, original
        self.samples, self.clock, self.threads = samples, clock, threads
        self.found: Fidelity | None = None
        self.reason: str | None = None
        self.bound_trials: list[BoundTrial] = []

    def drop(self, model: Model | Path) -> float:
        """0.0 if a model keeps all bounds; `reason` says which it does not."""
        held_out = self.samples.batches[-self.samples.held_out :]
        self.found = fidelity(self.original, model, held_out, threads=self.threads, progress=self.clock.steps())
        self.reason = self.limits.broken(self.found)
        if self.inner is not None:
            lost, most = self.inner.drop(model), self.inner.max_drop
            if most is not None and not lost <= most:
                self.reason = f"{self.inner.metric.label} falls by {lost:.4g}, --max-drop allows {most:.4g}"
        return 0.0 if self.reason is None else BROKEN

    def check(self, model: Model | Path) -> None:
        """Raise GateError if a model breaks a bound."""
        if self.drop(model):
            raise GateError(
                f"the result is too far from the original: {self.reason}",
                hint="Nothing was written. Remove less, allow more, or leave out --ratio, --target and --plan: then "
                "the most that is allowed is searched for.",
            )

    def tried(self, ratio: float, removed: int, macs: int, asked: str) -> None:
        assert self.found is not None
        found = self.found.agreement, self.found.worst_error
        self.bound_trials.append(BoundTrial(ratio, removed, macs, asked, *found, self.reason))
        if self.inner is not None:
            self.inner.tried(ratio, removed, macs, asked)

    def said(self, drop: float) -> str:
        return self.reason or "passes"

    def settle(self, ratio: float) -> None:
        if self.inner is not None:
            self.inner.settle(ratio)

    def unreachable(self) -> GateError:
        mildest = min((trial for trial in self.bound_trials if trial.removed), key=lambda trial: trial.ratio)
        return GateError(
            f"however little is removed, the result is too far from the original: {mildest.reason}, at {mildest.asked}",
            hint="Nothing was written. Allow more, or give more samples.",
        )

    def bounds(self) -> BoundsSummary:
        """What was asked, and tried."""
        return BoundsSummary(self.limits.min_agreement, self.limits.max_error, tuple(self.bound_trials))
