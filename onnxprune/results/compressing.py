"""What `compress` gives back."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.gains import smaller, work
from onnxprune.results.quantization import QuantizationSummary
from onnxprune.results.shown import OneLine
from onnxprune.results.shrinking import ShrinkResult
from onnxprune.results.units import format_percent


@dataclass(frozen=True, repr=False)
class CompressPoint(OneLine):
    """A network that was built and measured.

    Attributes:
        levers: What made it: "int8", "channels", "blocks", "zeros"; none of the original.
        cost: What is left of the original's cost (time, or bytes of the file), as a share.
        error: Of the outputs on held-out samples, the norm of the difference relative to that of the original's.
        agreement: The share of held-out samples that keep their top class; None if there are no classes.
        repaired: "fully", "briefly" or "not": how long weights were refitted before this was measured.
        taken: Whether it is the result.
    """

    levers: tuple[str, ...]
    cost: float
    error: float
    agreement: float | None
    repaired: str
    taken: bool = False

    @property
    def name(self) -> str:
        """The levers in words: "channels + int8"."""
        return " + ".join(self.levers) or "the original"

    def _words(self) -> str:
        return f"{self.name}: {format_percent(self.cost)} left, output error {format_percent(self.error)}"


@dataclass(frozen=True, repr=False)
class CompressResult(ShrinkResult):
    """Outcome of `compress`.

    Attributes:
        before: The original.
        after: The file that was written; None in a dry run, or if nothing was changed. `left` is there in any case.
        plan: What leaves, what is in integers, and which weights are zero.
        groups: All groups and what they lose; empty where blocks leave, or nothing.
        asked_ratio: None.
        reached_ratio: 0.
        proof: Of the cut; None where nothing leaves, or nothing was written.
        repair: What was refitted of a cut; None without one.
        written: The files, the .onnx first; empty in a dry run, or if nothing was changed.
        seconds: Stage -> how long it took.
        notes: Remarks.
        target: What was asked of a cost; None where bounds said how far.
        calibration: The samples.
        fidelity: How far the result does what the original does; None where nothing was written.
        metric: The user's metric; None without one.
        blocks: Where blocks leave: all residual blocks and which of them do.
        curves: What each group costs, if channels leave.
        sparsity: What became of the weights; None if none became zero.
        bounds: None.
        problem: What failed once the files in `written` were there: the report. None if nothing did.
        planned: What a dry run would leave, its bytes an estimate; None if it was written.
        timing: With `bench`: how much faster the result is; None without, or if it could not be timed.
        model: The result as a Model, if it was asked for in memory (`out=None`): the original if nothing changed. None
            in a dry run, and with a file.
        interrupted: What Ctrl-C cut short; None if nothing was.
        quantization: What became of every layer; None if none computes with integers.
        points: What was built and measured, the result among them.
        without: Lever -> why it gave nothing.
    """

    quantization: QuantizationSummary | None = None
    points: tuple[CompressPoint, ...] = ()
    without: tuple[tuple[str, str], ...] = ()

    @property
    def taken(self) -> CompressPoint | None:
        """The point of the result; None if nothing was written."""
        return next((point for point in self.points if point.taken), None)

    @property
    def gain(self) -> str:
        """What it saves, in a few words."""
        counted = [] if self.quantization is None else [self.quantization.counted]
        less = self.plan.removed_count or self.sparsity is not None
        left = work(self.before, self.left, self.sparsity) if less else smaller(self.before, self.left)
        return ", ".join([*counted, left])

    def _words(self) -> str:
        if self.after is None and self.planned is None:
            return f"{self.before.name}: nothing was changed, and nothing was written"
        parts = [self.gain]
        parts += [] if self.timing is None else [self.timing.words]
        parts += [] if self.metric is None else [self.metric.words]
        parts += [] if self.fidelity is None or self.fidelity.words is None else [self.fidelity.words]
        where = (
            f"written {self.written[0].name}" if self.written else "not written" if self.model is None else "in memory"
        )
        return f"{self.before.name}: {', '.join(parts)}; {where}"
