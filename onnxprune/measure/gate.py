"""The user's metric as a gate: what the original scores, what a candidate may lose, what was tried."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from onnxprune.errors import GateError, UsageError
from onnxprune.measure.metric import Metric, open_metric
from onnxprune.model.load import Model
from onnxprune.results import MetricSummary, MetricTrial

ROUNDING = 1e-6
"""Relative to the metric: a drop that is this close to the bound is at the bound (0.98 - 0.97 > 0.01 in binary)."""


class Gate:
    """A metric with the value of the original, and the largest drop that is allowed (None: any)."""

    def __init__(self, metric: Metric, max_drop: float | None, before: float) -> None:
        self.metric, self.max_drop, self.before = metric, max_drop, before
        self.after: float | None = None
        self.trials: list[MetricTrial] = []

    def drop(self, model: Model | Path) -> float:
        """How much a model loses against the original; becomes `after` of the summary. Raises DataError."""
        self.after = self.metric(model)
        drop = self.before - self.after
        if self.max_drop is not None and abs(drop - self.max_drop) <= ROUNDING * max(abs(self.before), abs(self.after)):
            return self.max_drop
        return drop

    def check(self, model: Model | Path) -> None:
        """Raise GateError if a model loses more than is allowed."""
        drop = self.drop(model)
        if self.max_drop is not None and not drop <= self.max_drop:
            raise GateError(
                f"{self.metric.label} falls by {drop:.4g}, from {self.before:.4g} to {self.after:.4g}; "
                f"--max-drop allows {self.max_drop:.4g}",
                hint="Nothing was written. Remove less, repair with --data, or leave out --ratio, --target and --plan: "
                "then the largest ratio that is allowed is searched for.",
            )

    def tried(self, ratio: float, removed: int, macs: int, asked: str) -> None:
        """Remember what was measured last as the trial of a ratio, which left `macs`; `asked` says of what."""
        assert self.after is not None
        self.trials.append(MetricTrial(ratio, removed, self.after, macs, asked))

    def said(self, drop: float) -> str:
        """Why a candidate that lost so much does not pass."""
        return f"{self.metric.label} falls by {drop:.4g}"

    def settle(self, ratio: float) -> None:
        """The trial of this ratio is the result; nothing is, if it removed nothing."""
        self.after = next((trial.value for trial in self.trials if trial.ratio == ratio), None)

    def unreachable(self) -> GateError:
        """No trial that removed something is within the bound."""
        mildest = min((trial for trial in self.trials if trial.removed), key=lambda trial: trial.ratio)
        return GateError(
            f"{self.metric.label} falls by more than --max-drop {self.max_drop:.4g} however little is removed: "
            f"from {self.before:.4g} to {mildest.value:.4g} at {mildest.asked}",
            hint="Nothing was written. Allow more, or repair with --data.",
        )

    def summary(self) -> MetricSummary:
        return MetricSummary(self.metric.label, self.before, self.after, self.max_drop, tuple(self.trials))


@contextlib.contextmanager
def open_gate(
    metric: str | Callable[..., Any] | None, max_drop: float | None, original: Model
) -> Iterator[Gate | None]:
    """The gate of a run; None without a metric. Raises UsageError, and DataError if the original cannot be scored."""
    if metric is None:
        if max_drop is not None:
            raise UsageError("--max-drop needs --metric.", hint="--metric file.py:function says what must not drop.")
        yield None
        return
    if max_drop is not None and not max_drop >= 0:
        raise UsageError(f"--max-drop must be at least 0, found {max_drop}")
    with open_metric(metric) as opened:
        yield Gate(opened, max_drop, opened(original))
