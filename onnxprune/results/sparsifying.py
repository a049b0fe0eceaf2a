"""What `sparsify` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import OnnxPruneError
from onnxprune.results.made import Made, failure_after, made_words
from onnxprune.results.sparse import SparsitySummary


@dataclass(frozen=True, repr=False)
class SparsifyResult(Made):
    """Outcome of `sparsify`.

    Attributes:
        before: The original.
        after: The file that was written; None in a dry run, or if no layer became sparse. Its `macs` are those that
            are executed: what sparse operators skip is not counted, where their library is there.
        plan: Which weights have zeros.
        sparsity: What became of every layer.
        written: The files, the .onnx first; empty in a dry run, or if no layer became sparse.
        seconds: Stage -> how long it took.
        notes: Remarks.
        calibration: The samples; None without `data`.
        fidelity: How far the result does what the original does; None without `data`, or where nothing was written.
        problem: What failed once the files in `written` were there: the report. None if nothing did.
        planned: What a dry run would leave, its bytes an estimate; None if it was written.
        timing: With `bench`: how much faster the result is; None without, or if it could not be timed.
        model: The result as a Model, if it was asked for in memory (`out=None`): the original if nothing left. None in
            a dry run, and with a file.
        interrupted: What Ctrl-C cut short; None if nothing was.
    """

    sparsity: SparsitySummary
    written: tuple[Path, ...]
    seconds: dict[str, float]

    def failure(self) -> OnnxPruneError | None:
        """As that of `ShrinkResult`."""
        return failure_after(self.written, self.problem)

    def _words(self) -> str:
        return made_words(self, self.written, self.sparsity)
