"""What `sweep` gives back: one entry per point, with what it costs, what it keeps, and who dominates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxprune.benching.results import Comparison, Estimate
from onnxprune.errors import GateError
from onnxprune.results import Agreement, ModelSummary
from onnxprune.results.shown import OneLine, Shown

FINISHED, NOTHING, FAILED = "finished", "nothing removed", "failed"
LATENCY, SIZE, MACS = "latency", "size", "macs"
COSTS = (LATENCY, SIZE, MACS)
METRIC, AGREEMENT, ERROR = "metric", "agreement", "error"
ORIGINAL = "the original"


@dataclass(frozen=True)
class Point:
    """One call of `shrink`: a ratio or a target, and a criterion; or its result, quantised.

    Attributes:
        name: That of its files.
        ratio: That was asked for; None of a target.
        target: That was asked for; None of a ratio.
        criterion: What chose the units; None with blocks, which have only one way.
        quantized: For which processors the result of this was quantised ("vnni", "x86", "arm"); None if it was not.
            Without a ratio and a target the original was.
    """

    name: str
    ratio: float | None
    target: str | None
    criterion: str | None
    quantized: str | None = None

    @property
    def series(self) -> str:
        """What it belongs to in a plot: its criterion, and whether it is in int8."""
        if self.quantized is None:
            return self.criterion or "blocks"
        return "int8 alone" if self.amount == "nothing" else f"{self.criterion or 'blocks'}, int8"

    @property
    def amount(self) -> str:
        """What was asked for: "ratio 0.5", "macs=50%"; "nothing" of the original in int8."""
        if self.ratio is None and self.target is None:
            return "nothing"
        return self.target if self.target is not None else f"ratio {self.ratio:g}"


@dataclass(frozen=True)
class Failure:
    """Why there is no model.

    Attributes:
        kind: The class of the error.
        message: Its words.
        hint: How to go on; None if it does not say.
        exit_code: What `shrink` would have returned.
    """

    kind: str
    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True, repr=False)
class Outcome(OneLine):
    """What came of a point. What is measured is so on held-out samples.

    Attributes:
        status: FINISHED, NOTHING removed or FAILED.
        seconds: How long it took, wherever it was.
        model: What was written; None unless it is FINISHED.
        plan: Its digest; None if it FAILED.
        removed: How many units left.
        reached_ratio: The share of the removable units that left, 0 to 1.
        agreement: The least of all outputs; None without `data`, or of outputs that are no classes.
        no_agreement: Why there is none; None if there is one, or without `data`.
        error: The largest relative error of an output; None without `data`.
        held_out: On how many samples.
        notes: Remarks.
        failure: Why there is no model; None if it is FINISHED.
    """

    status: str
    seconds: float
    model: ModelSummary | None = None
    plan: str | None = None
    removed: int = 0
    reached_ratio: float = 0.0
    agreement: Agreement | None = None
    no_agreement: str | None = None
    error: float | None = None
    held_out: int = 0
    notes: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True, repr=False)
class Latency(OneLine):
    """The time of one inference.

    Attributes:
        median: In seconds.
        against: By that of the original, paired.
    """

    median: Estimate
    against: Comparison


@dataclass(frozen=True, repr=False)
class SweptPoint(OneLine):
    """A point with all that is known of it.

    Attributes:
        point: What was asked.
        outcome: What came of it.
        path: Its model file; None unless it is FINISHED.
        reused: Whether an earlier run finished it.
        metric: The user's metric; None without one, or without a model.
        latency: None if it was not measured.
        frontier: The costs of which it is on the frontier.
        dominated: Cost -> the name of what is at least as good at no more of it. Costs that are unknown are neither
            here nor in `frontier`.
    """

    point: Point
    outcome: Outcome
    path: Path | None = None
    reused: bool = False
    metric: float | None = None
    latency: Latency | None = None
    frontier: tuple[str, ...] = ()
    dominated: Mapping[str, str] = field(default_factory=dict)

    @property
    def model(self) -> ModelSummary:
        """What was written. Raises ValueError for a point that is not among `SweepResult.finished`."""
        if self.outcome.model is None:
            raise ValueError(f"{self.point.name} has no model: {self.outcome.status}")
        return self.outcome.model

    def _words(self) -> str:
        best = f", on the frontier of {', '.join(self.frontier)}" if self.frontier else ""
        return f"{self.point.name}: {self.outcome.status}{best}"


@dataclass(frozen=True, repr=False)
class Timing(OneLine):
    """How latency was measured: on the machine that ran the command.

    Attributes:
        cpu: What the processor calls itself.
        runtime: Name and version.
        threads: Of the runtime.
        samples: In one inference.
        rounds: How often each model ran.
        source: Where the inputs are from.
        median: Seconds of one inference of the original.
        notes: Remarks.
    """

    cpu: str
    runtime: str
    threads: int
    samples: int
    rounds: int
    source: str
    median: Estimate
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, repr=False)
class SweepResult(Shown):
    """Outcome of `sweep`.

    Attributes:
        original: The model.
        points: All of them, also those that gave no model; see `finished`.
        folder: Where they are.
        source: Where the samples are from; None without `data`.
        quality: What the frontier is about: METRIC, AGREEMENT or ERROR; None without any: then there is no frontier.
        metric_name: Of the user's metric; None without one.
        metric_before: The same, of the original; None without one.
        timing: How latency was measured; None if it was not.
        where: What computed the points.
        notes: Remarks.
        seconds: How long all took.
    """

    original: ModelSummary
    points: tuple[SweptPoint, ...]
    folder: Path
    source: str | None
    quality: str | None
    metric_name: str | None
    metric_before: float | None
    timing: Timing | None
    where: str
    notes: tuple[str, ...]
    seconds: float

    @property
    def finished(self) -> tuple[SweptPoint, ...]:
        """The points that have a model."""
        return tuple(point for point in self.points if point.outcome.status == FINISHED)

    def failure(self) -> GateError | None:
        """What makes the command fail although there is a result: no point gave a model."""
        if self.finished:
            return None
        first = self.points[0]
        reason = first.outcome.failure
        return GateError(
            f"no point of {len(self.points)} gave a model; {first.point.name}: {reason.message if reason else '?'}",
            hint=reason.hint if reason else None,
        )

    def _words(self) -> str:
        done = f"{len(self.finished)} of {len(self.points)} points have a model"
        best = sum(bool(point.frontier) for point in self.finished)
        return f"{self.original.name}: {done}, {best} are on a frontier; in {self.folder.name}"
