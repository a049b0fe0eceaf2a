"""The user's own metric: what it gave before, after, and in trials between."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine


@dataclass(frozen=True, repr=False)
class MetricTrial(OneLine):
    """What the user's metric gave for the result of one ratio.

    Attributes:
        ratio: That was tried.
        removed: Units that left.
        value: Of the metric, higher is better.
        macs: Multiply-accumulates that stay.
        asked: What the ratio is one of: "ratio 0.25" of the channels, "macs=75%" of what is left.
    """

    ratio: float
    removed: int
    value: float
    macs: int
    asked: str


@dataclass(frozen=True, repr=False)
class MetricSummary(OneLine):
    """The user's metric, higher is better.

    Attributes:
        name: Of its function.
        before: Of the original.
        after: Of the result; None in a dry run that tried nothing.
        max_drop: By how much it may fall; None if no limit was given.
        trials: Those of a search for the largest ratio, or with samples the least MACs, within `max_drop`, in their
            order.
    """

    name: str
    before: float
    after: float | None
    max_drop: float | None
    trials: tuple[MetricTrial, ...] = ()

    @property
    def words(self) -> str:
        """In a few words: "score 0.98 -> 0.97"."""
        return f"{self.name} {self.before:.4g}" + ("" if self.after is None else f" -> {self.after:.4g}")

    def _words(self) -> str:
        return self.words
