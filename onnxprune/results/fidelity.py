"""How far a result does what the original does, on samples without labels."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_percent, plural


@dataclass(frozen=True)
class Agreement:
    """The share of samples on which two models say the same.

    Attributes:
        share: 0 to 1.
        low: Lower end of its Wilson score interval at 95 %.
        high: Upper end of it.
        samples: How many there were.
    """

    share: float
    low: float
    high: float
    samples: int


@dataclass(frozen=True, repr=False)
class OutputFidelity(OneLine):
    """One output of a candidate against the original's, over all samples; see measure/fidelity.py for the definitions.

    Attributes:
        name: Of the output.
        relative_error: The norm of the difference by that of the output; None where that has no meaning.
        max_absolute: The largest difference; None where that has no meaning.
        cosine: The mean cosine of both; None where that has no meaning.
        agreement: Of the classes; None of what is no classes.
        reason: Why there is no agreement; None if there is one.
        elements: How many numbers were compared.
        not_finite: How many of them are NaN or infinite in either model.
        clashes: How many are so in one only: then the error is infinite.
    """

    name: str
    relative_error: float | None
    max_absolute: float | None
    cosine: float | None
    agreement: Agreement | None
    reason: str | None
    elements: int
    not_finite: int = 0
    clashes: int = 0


@dataclass(frozen=True, repr=False)
class Fidelity(OneLine):
    """How far a candidate does what the original does, on samples without labels.

    Attributes:
        samples: How many there were, held out from everything else.
        outputs: One entry an output.
    """

    samples: int
    outputs: tuple[OutputFidelity, ...]

    @property
    def worst_agreement(self) -> Agreement | None:
        """The least agreement of all outputs that have one; None if none has."""
        found = [output.agreement for output in self.outputs if output.agreement is not None]
        return min(found, key=lambda one: one.share, default=None)

    @property
    def agreement(self) -> float | None:
        """Its share, 0 to 1; None if no output has one."""
        worst = self.worst_agreement
        return None if worst is None else worst.share

    @property
    def worst_error(self) -> float | None:
        """The largest relative error of all outputs that have one; None if none has."""
        return max((o.relative_error for o in self.outputs if o.relative_error is not None), default=None)

    @property
    def words(self) -> str | None:
        """In a few words: "agreement 99 %", or "output error 3 %"; None if there is neither."""
        if self.agreement is not None:
            return f"agreement {format_percent(self.agreement)}"
        return None if self.worst_error is None else f"output error {format_percent(self.worst_error)}"

    def _words(self) -> str:
        return f"{self.words or 'nothing to compare'} on {plural(self.samples, 'sample')}"
