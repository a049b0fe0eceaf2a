"""The samples of a run."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine


@dataclass(frozen=True, repr=False)
class CalibrationSummary(OneLine):
    """The samples that were used.

    Attributes:
        source: Where they are from, base names only.
        samples: How many were used to choose and to repair.
        held_out: How many were kept for measuring.
        estimated_bytes: What they were expected to take in memory.
        peak_bytes: The process's largest memory so far; None if the system does not say.
    """

    source: str
    samples: int
    held_out: int
    estimated_bytes: int
    peak_bytes: int | None
