"""What `shrink` and `sparsify` have in common: a model became another one, or would."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from onnxprune.errors import OnnxPruneError
from onnxprune.results.calibration import CalibrationSummary
from onnxprune.results.ending import CutShort
from onnxprune.results.fidelity import Fidelity
from onnxprune.results.gains import work
from onnxprune.results.metric import MetricSummary
from onnxprune.results.model import ModelSummary
from onnxprune.results.plan import Plan
from onnxprune.results.shown import Shown
from onnxprune.results.sparse import SparsitySummary
from onnxprune.results.timing import TimingSummary


@dataclass(frozen=True, repr=False)
class Made(Shown):
    """What both results have.

    Attributes:
        before: The original.
        after: The file that was written; None in a dry run, or if nothing left. `left` is there in any case.
        plan: What left.
        notes: Remarks.
        calibration: The samples; None without `data`.
        fidelity: How far the result does what the original does; None without `data`, or where nothing was written.
        problem: What failed once the files were there: the report. None if nothing did.
        planned: What would be left, its bytes an estimate; None if it was written, or if nothing leaves.
        timing: With `bench`: how much faster the result is; None without, or if it could not be timed.
        model: The result as a Model, if it was asked for in memory (`out=None`): the original if nothing left. None in
            a dry run, and with a file.
        interrupted: What Ctrl-C cut short; None if nothing was.
    """

    before: ModelSummary
    after: ModelSummary | None
    plan: Plan
    notes: tuple[str, ...] = field(default=(), kw_only=True)
    calibration: CalibrationSummary | None = field(default=None, kw_only=True)
    fidelity: Fidelity | None = field(default=None, kw_only=True)
    problem: OnnxPruneError | None = field(default=None, kw_only=True)
    planned: ModelSummary | None = field(default=None, kw_only=True)
    timing: TimingSummary | None = field(default=None, kw_only=True)
    model: Any = field(default=None, kw_only=True, repr=False)
    interrupted: CutShort | None = field(default=None, kw_only=True)

    @property
    def left(self) -> ModelSummary:
        """What is left, in any case: the file that was written, what a dry run would leave, or else the original."""
        return self.after or self.planned or self.before


def made_words(
    result: Made, written: Sequence[Path], sparsity: SparsitySummary | None, metric: MetricSummary | None = None
) -> str:
    """What was gained, what was lost, and where it is, in one line."""
    name = result.before.name
    if result.after is None and result.planned is None:
        return f"{name}: nothing left it, and nothing was written"
    parts = [work(result.before, result.left, sparsity)]
    parts += [] if result.timing is None else [result.timing.words]
    parts += [] if metric is None else [metric.words]
    quality = None if result.fidelity is None else result.fidelity.words
    parts += [] if quality is None else [quality]
    where = f"written {written[0].name}" if written else "not written" if result.model is None else "in memory"
    return f"{name}: {', '.join(parts)}; {where}"


def failure_after(written: Sequence[Path], problem: OnnxPruneError | None) -> OnnxPruneError | None:
    """A problem that came after the files were there, as the error of the command."""
    if problem is None:
        return None
    done = f"{written[0].name} is written and" if written else "the result is"
    there = f"{done} complete; what failed came after it"
    return type(problem)(f"{there}: {problem.message}", hint=problem.hint)
