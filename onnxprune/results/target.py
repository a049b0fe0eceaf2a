"""What a run was asked to leave of a cost."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine


@dataclass(frozen=True, repr=False)
class TargetSummary(OneLine):
    """What was asked of a cost, and what came of it. Values are in the unit of the kind: a count, bytes, seconds.

    Attributes:
        asked: As it was given: "macs=50%".
        kind: "macs", "params", "size" or "latency".
        limit: The most that may be left.
        before: What the original has.
        planned: What the plan leaves, as predicted.
        measured: What is left in fact; None for macs and params, which need no measuring, and in a dry run.
    """

    asked: str
    kind: str
    limit: float
    before: float
    planned: float
    measured: float | None = None
