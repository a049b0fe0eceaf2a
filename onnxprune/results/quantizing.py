"""What `quantize` gives back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onnxprune.errors import OnnxPruneError
from onnxprune.results.gains import smaller
from onnxprune.results.made import Made, failure_after
from onnxprune.results.metric import MetricSummary
from onnxprune.results.quantization import QuantizationSummary


@dataclass(frozen=True, repr=False)
class QuantizeResult(Made):
    """Outcome of `quantize`.

    Attributes:
        before: The original.
        after: The file that was written; None in a dry run, or if no layer was quantised.
        plan: Which nodes compute with integers, on which grids.
        quantization: What became of every layer.
        written: The files, the .onnx first; empty in a dry run, or if no layer was quantised.
        seconds: Stage -> how long it took.
        metric: The user's metric; None without one.
        notes: Remarks.
        calibration: The samples; None without `data`.
        fidelity: How far the result does what the original does; None without `data`, or where nothing was written.
        problem: What failed once the files in `written` were there: the report. None if nothing did.
        planned: What a dry run would leave, its bytes an estimate; None if it was written.
        timing: With `bench`: how much faster the result is; None without, or if it could not be timed.
        model: The result as a Model, if it was asked for in memory (`out=None`): the original if nothing changed. None
            in a dry run, and with a file.
        interrupted: What Ctrl-C cut short; None if nothing was.
    """

    quantization: QuantizationSummary
    written: tuple[Path, ...]
    seconds: dict[str, float]
    metric: MetricSummary | None = None

    @property
    def gain(self) -> str:
        """What it saves, in a few words: "53 of 53 layers in int8, 74 % smaller"."""
        return f"{self.quantization.counted}, {smaller(self.before, self.left)}"

    def failure(self) -> OnnxPruneError | None:
        """As that of `ShrinkResult`."""
        return failure_after(self.written, self.problem)

    def _words(self) -> str:
        name = self.before.name
        if self.after is None and self.planned is None:
            return f"{name}: no layer was quantised, and nothing was written"
        parts = [self.gain]
        parts += [] if self.timing is None else [self.timing.words]
        parts += [] if self.metric is None else [self.metric.words]
        quality = None if self.fidelity is None else self.fidelity.words
        parts += [] if quality is None else [quality]
        where = (
            f"written {self.written[0].name}" if self.written else "not written" if self.model is None else "in memory"
        )
        return f"{name}: {', '.join(parts)}; {where}"
