"""What was shown or measured of a result while it was made: plain values. Units are in the names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import OnnxPruneError

SHOWN = 3  # names in a sentence


@dataclass(frozen=True)
class ProofSummary:
    """The masked equivalence that was shown; differences are relative to the largest output. `untold`: groups, branches
    or weights that a plan could be wrong about without anybody noticing. Without any, the proof is `sensitive`.
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
    """Checks of onnx that the original does not pass either; nor does the result."""
    untold: tuple[str, ...] = ()

    @property
    def checker_ok(self) -> bool:
        return not any(name.startswith("onnx.checker") for name in self.refused)

    @property
    def status(self) -> str:
        """In a word."""
        return "proven" if self.sensitive else "unproven"

    @property
    def unproven(self) -> str | None:
        """What was not shown, in words."""
        return unproven_words(self.untold) if self.untold else None


@dataclass(frozen=True)
class ReconstructionSummary:
    """What adjusting all weights together did: root mean square error of the outputs (before the final activation) on
    held-out samples, relative to their standard deviation, before and after.

    `steps` 0 and a `reason`: the weights stayed as least squares left them. No gradient reaches `frozen_weights`.
    """

    steps: int
    error_before: float
    error_after: float
    frozen_weights: int
    reason: str | None = None


@dataclass(frozen=True)
class CalibrationSummary:
    """The samples that were used. `source` holds base names only; `peak_bytes` is the process's largest memory so far
    (None if the system does not say), `estimated_bytes` what the samples were expected to take.
    """

    source: str
    samples: int
    held_out: int
    estimated_bytes: int
    peak_bytes: int | None


@dataclass(frozen=True)
class Cause:
    """What keeps a part of a model from being faster than the reference, by `kind` (see benching/causes.py), and the
    share of the time in kernels that it stands for (0 to 1). `layers` are the longest of `count`; `step`: what their
    widths are rounded up to multiples of.
    """

    kind: str
    share: float
    layers: tuple[str, ...]
    count: int
    step: int | None = None


@dataclass(frozen=True)
class TimingSummary:
    """The result timed in turn with the original: how many times as fast it is, with the 95 % interval of paired runs,
    and the medians of both, for `batch` samples with `threads` threads. `causes` if it is not faster.
    """

    verdict: str
    speedup: float
    low: float
    high: float
    before_s: float
    after_s: float
    threads: int
    batch: int
    pairs: int
    causes: tuple[Cause, ...] = ()


def unproven_words(untold: Sequence[str]) -> str:
    """What was not shown of parts that were not told apart."""
    names = ", ".join(map(repr, untold[:SHOWN]))
    more = f" and {len(untold) - SHOWN} more" if len(untold) > SHOWN else ""
    return f"unproven: whatever leaves {names}{more}, the outputs stay the same on all inputs that were tried"


def failure_after(written: Sequence[Path], problem: OnnxPruneError | None) -> OnnxPruneError | None:
    """A problem that came after the files were there, as the error of the command."""
    if problem is None:
        return None
    there = f"{written[0].name} is written and complete; what failed came after it"
    return type(problem)(f"{there}: {problem.message}", hint=problem.hint)
