"""What is said of the stages of a run: a line when one is done, and how far the one that runs is."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results import Progress
from onnxprune.results.units import format_seconds

SAYING = {
    "load": "reading the model",
    "trace": "tracing",
    "capture": "running the samples",
    "pace": "measuring the speed of steps",
    "plan": "planning",
    "cut": "cutting",
    "choose": "timing layers",
    "mask": "choosing weights",
    "prepare": "folding",
    "ranges": "measuring ranges",
    "profile": "timing layers",
    "sensitivity": "measuring what rounding does",
    "limits": "trying choices",
    "rewrite": "storing weights",
    "repair": "repairing layer by layer",
    "rebuild": "adjusting all weights together",
    "verify": "verifying",
    "measure": "comparing with the original",
    "pack": "packing",
    "unpack": "unpacking",
    "write": "writing",
    "bench": "measuring",
    "check": "checking",
    "sweep": "sweeping",
}
"""Stage -> what is being done."""


def said(step: Progress) -> str:
    """What is being done, in words."""
    return SAYING.get(step.stage, step.stage)


@dataclass
class Running:
    """The stage that runs, since when, and how far it is; and how far it was when counting began."""

    what: str
    since: float
    done: int = 0
    total: int | None = None
    message: str = ""
    first: int = 0
    counted: float = 0.0

    def finished(self, now: float) -> str:
        """Its line, once it is done: what, how long, and what came of it."""
        parts = [format_seconds(now - self.since), *self._counted(), *self._shown()]
        return f"{self.what}: {', '.join(parts)}"

    def so_far(self, now: float) -> str:
        """How far it is: what, since when, how much, how fast, how long it takes yet, and how it stands."""
        passed = now - self.since
        parts = []
        done, taken = self.done - self.first, now - self.counted
        if self.total and done > 0 and taken > 0:
            rate, left = done / taken, (self.total - self.done) * taken / done
            each = f"{rate:.3g} a second" if rate >= 1 else f"{format_seconds(1 / rate)} each"
            parts = [f"{self.done} of {self.total}", each, f"{format_seconds(left)} left"]
        said = ", ".join([*parts, *self._shown()])
        return f"{self.what}, {format_seconds(passed)} so far" + (f": {said}" if said else "")

    def _counted(self) -> list[str]:
        return [f"{self.done} of {self.total}"] if self.total else []

    def _shown(self) -> list[str]:
        return [self.message] if self.message else []


class Stages:
    """Follows a run, step by step."""

    def __init__(self) -> None:
        self.running: Running | None = None

    def hear(self, step: Progress, now: float) -> str | None:
        """A step at a time in seconds; the line of the stage that ended with it, if one did."""
        what, ended = said(step), None
        if self.running is None or self.running.what != what:
            ended = None if self.running is None else self.running.finished(now)
            self.running = Running(what, now)
        if step.total is not None:
            if self.running.total is None or step.done > self.running.done + 1:  # some were done by an earlier run
                self.running.first, self.running.counted = step.done, now
            self.running.done, self.running.total = step.done, step.total
        self.running.message = step.message or self.running.message
        return ended

    def end(self, now: float) -> str | None:
        """The line of the last stage."""
        ended = None if self.running is None else self.running.finished(now)
        self.running = None
        return ended
