"""What was shown of a result before it was written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_difference, plural

SHOWN = 3  # names in a sentence


@dataclass(frozen=True, repr=False)
class ProofSummary(OneLine):
    """The masked equivalence that was shown.

    Attributes:
        cases: The inputs on which outputs were compared, in words.
        skipped_cases: Inputs on which the original does not run either.
        compared_elements: How many numbers were compared.
        worst_relative: The largest difference, relative to the largest output.
        worst_absolute: The largest difference.
        tolerance_relative: How large `worst_relative` may be.
        tolerance_policy: Why so large, in words.
        sensitive: Whether a wrong plan would have been noticed.
        notes: Remarks.
        refused: Checks of onnx that the original does not pass either; nor does the result.
        untold: Groups, branches or weights that a plan could be wrong about without anybody noticing.
    """

    cases: tuple[str, ...]
    skipped_cases: tuple[str, ...]
    compared_elements: int
    worst_relative: float
    worst_absolute: float
    tolerance_relative: float
    tolerance_policy: str
    sensitive: bool
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def checker_ok(self) -> bool:
        """Whether onnx.checker accepts the result."""
        return not any(name.startswith("onnx.checker") for name in self.refused)

    @property
    def status(self) -> str:
        """In a word: "proven" or "unproven"."""
        return "proven" if self.sensitive else "unproven"

    @property
    def unproven(self) -> str | None:
        """What was not shown, in words; None if everything was."""
        return unproven_words(self.untold) if self.untold else None

    def _words(self) -> str:
        on = plural(len(self.cases), "input")
        return f"{self.status} on {on}, largest difference {format_difference(self.worst_relative)} of the outputs"


def unproven_words(untold: Sequence[str]) -> str:
    """What was not shown of parts that were not told apart."""
    names = ", ".join(map(repr, untold[:SHOWN]))
    more = f" and {len(untold) - SHOWN} more" if len(untold) > SHOWN else ""
    return f"unproven: whatever leaves {names}{more}, the outputs stay the same on all inputs that were tried"
