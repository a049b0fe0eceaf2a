"""What `sweep` gives back: one entry per point, with what it costs, what it keeps, and who dominates it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from onnxprune.benching.results import Comparison, Estimate
from onnxprune.errors import GateError
from onnxprune.results import Agreement, ModelSummary

FINISHED, NOTHING, FAILED = "finished", "nothing removed", "failed"
LATENCY, SIZE, MACS = "latency", "size", "macs"
COSTS = (LATENCY, SIZE, MACS)
METRIC, AGREEMENT, ERROR = "metric", "agreement", "error"
ORIGINAL = "the original"


@dataclass(frozen=True)
class Point:
    """One call of `shrink`: a `ratio` or a `target`, and a criterion (None with blocks, which have only one way).

    `name` is that of its files.
    """

    name: str
    ratio: float | None
    target: str | None
    criterion: str | None

    @property
    def amount(self) -> str:
        """What was asked for: "ratio 0.5", "macs=50%"."""
        return self.target if self.target is not None else f"ratio {self.ratio:g}"


@dataclass(frozen=True)
class Failure:
    """Why there is no model. `kind` is the class of the error, `exit_code` what `shrink` would have returned."""

    kind: str
    message: str
    hint: str | None
    exit_code: int


@dataclass(frozen=True)
class Outcome:
    """What came of a point: FINISHED has a `model`; NOTHING removed and FAILED have a `failure` that says why.

    `agreement` is the least of all outputs, `no_agreement` why there is none; `error` the largest relative error of an
    output, both on held-out samples. `seconds` is how long it took, wherever it was.
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


@dataclass(frozen=True)
class Latency:
    """Time of one inference, and by that of the original, paired."""

    median: Estimate
    against: Comparison


@dataclass(frozen=True)
class SweptPoint:
    """A point with all that is known of it. `path` is its model file.

    `reused`: it was finished by an earlier run. `dominated`: cost -> the name of what is at least as good at no more of
    this cost; costs of which it is on the frontier are in `frontier`, those that are unknown in neither.
    """

    point: Point
    outcome: Outcome
    path: Path | None = None
    reused: bool = False
    metric: float | None = None
    latency: Latency | None = None
    frontier: tuple[str, ...] = ()
    dominated: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """How latency was measured: on the machine that ran the command. `median` is that of the original."""

    cpu: str
    runtime: str
    threads: int
    samples: int
    rounds: int
    source: str
    median: Estimate
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SweepResult:
    """Outcome of `sweep`. `quality` is what the frontier is about: METRIC, AGREEMENT or ERROR; None without any.

    `metric_name`, `metric_before`: the user's metric, of the original. `where` says what computed the points.
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
