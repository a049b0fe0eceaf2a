"""What `shrink` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import OnnxPruneError
from onnxprune.results.bounds import BoundsSummary
from onnxprune.results.error_curves import ErrorCurve
from onnxprune.results.inspection import BlockSummary
from onnxprune.results.made import Made, failure_after, made_words
from onnxprune.results.metric import MetricSummary
from onnxprune.results.proof import ProofSummary
from onnxprune.results.repair import RepairSummary
from onnxprune.results.shown import OneLine
from onnxprune.results.sparse import SparsitySummary
from onnxprune.results.target import TargetSummary


@dataclass(frozen=True, repr=False)
class GroupChange(OneLine):
    """A group after planning.

    Attributes:
        name: Of the group.
        size: How many indices it had.
        removed: How many of them leave.
        layers: Those that produce them.
        reason: Why it lost less than was asked (pinned, excluded, too narrow); None if it did not.
        pinned: Whether the reason is the model's, and `inspect` knows it; else it is of this run.
    """

    name: str
    size: int
    removed: int
    layers: tuple[str, ...]
    reason: str | None = None
    pinned: bool = False


@dataclass(frozen=True, repr=False)
class BlockChange(OneLine):
    """A residual block after planning.

    Attributes:
        block: It.
        removed: Whether it leaves.
        reason: Why it could not (pinned, excluded); None if it could.
    """

    block: BlockSummary
    removed: bool
    reason: str | None = None


@dataclass(frozen=True, repr=False)
class ShrinkResult(Made):
    """Outcome of `shrink`.

    Attributes:
        before: The original.
        after: The file that was written; None in a dry run, or if nothing was removed. `left` is there in any case.
        plan: What leaves.
        groups: All groups and what they lose; empty with units "blocks".
        asked_ratio: The ratio that was given; None with a target or a plan, or if it was searched for.
        reached_ratio: The share of the removable units that leave, 0 to 1.
        proof: Of the equivalence; None where nothing was written, or with `verify=False`.
        repair: What was refitted; None where nothing was written, or without repair.
        written: The files, the .onnx first; empty in a dry run, or if nothing was removed.
        seconds: Stage -> how long it took.
        notes: Remarks.
        target: What was asked of a cost; None without a target.
        calibration: The samples; None without `data`.
        fidelity: How far the result does what the original does; None without `data`, or where nothing was written.
        metric: The user's metric; None without one.
        bounds: How far the result may be from the original, and what was tried; None without `min_agreement` and
            `max_error`.
        blocks: With units "blocks": all residual blocks and which of them leave.
        curves: What each group costs, if the choice was made by error.
        sparsity: What became of the weights of what stays; None if none were to become zero.
        problem: What failed once the files in `written` were there: the report. None if nothing did.
        planned: What a dry run would leave, its bytes an estimate; None if it was written.
        timing: With `bench`: how much faster the result is; None without, or if it could not be timed.
        model: The result as a Model, if it was asked for in memory (`out=None`): the original if nothing left. None in
            a dry run, and with a file.
        interrupted: What Ctrl-C cut short; None if nothing was.
    """

    groups: tuple[GroupChange, ...]
    asked_ratio: float | None
    reached_ratio: float
    proof: ProofSummary | None
    repair: RepairSummary | None
    written: tuple[Path, ...]
    seconds: dict[str, float]
    target: TargetSummary | None = None
    metric: MetricSummary | None = None
    blocks: tuple[BlockChange, ...] = ()
    curves: tuple[ErrorCurve, ...] = ()
    sparsity: SparsitySummary | None = None
    bounds: BoundsSummary | None = None

    @property
    def searched(self) -> tuple[int, str]:
        """How many trials a search for the most that is allowed took, and the options that say what is."""
        drop = self.metric is not None and self.metric.max_drop is not None
        flags = ["--max-drop"] if drop else []
        flags += [] if self.bounds is None else [self.bounds.flags]
        found = self.bounds if self.bounds is not None else self.metric
        return (0 if found is None else len(found.trials)), " and ".join(flags)

    def failure(self) -> OnnxPruneError | None:
        """What makes the command fail although the result is there; None if nothing does."""
        return failure_after(self.written, self.problem)

    def _words(self) -> str:
        return made_words(self, self.written, self.sparsity, self.metric)
