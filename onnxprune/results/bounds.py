"""Bounds on how far a result may be from the original, without labels; and what was tried to keep them."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_percent, plural


@dataclass(frozen=True, repr=False)
class BoundTrial(OneLine):
    """How far the result of one ratio was from the original, on held-out samples.

    Attributes:
        ratio: That was tried.
        removed: Units that left.
        macs: Multiply-accumulates that stay.
        asked: What the ratio is one of: "ratio 0.25" of the channels, "macs=75%" of what is left.
        agreement: Of the top class, 0 to 1; None if there are no classes.
        error: Of the outputs, relative to their size; None if it has no meaning.
        reason: The bound that was not kept, in words; None if all were.
    """

    ratio: float
    removed: int
    macs: int
    asked: str
    agreement: float | None
    error: float | None
    reason: str | None


@dataclass(frozen=True, repr=False)
class BoundsSummary(OneLine):
    """Bounds that a result has to keep.

    Attributes:
        min_agreement: The share of held-out samples that must keep their top class; None if there is no such bound.
        max_error: How far outputs may be off, relative to their size; None if there is no such bound.
        trials: Those of a search for the most that they allow, in their order.
    """

    min_agreement: float | None
    max_error: float | None
    trials: tuple[BoundTrial, ...] = ()

    @property
    def flags(self) -> str:
        """The options that say them: "--min-agreement"."""
        given = (("--min-agreement", self.min_agreement), ("--max-error", self.max_error))
        return " and ".join(flag for flag, value in given if value is not None)

    @property
    def words(self) -> str:
        """The bounds in words: "agreement of 99 % or more"."""
        bounds = (
            "" if self.min_agreement is None else f"agreement of {format_percent(self.min_agreement)} or more",
            "" if self.max_error is None else f"output error of {format_percent(self.max_error)} or less",
        )
        return ", ".join(bound for bound in bounds if bound)

    def _words(self) -> str:
        return self.words + (f", {plural(len(self.trials), 'trial')}" if self.trials else "")
