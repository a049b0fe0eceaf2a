"""How far a long run is, as it tells a callback; and what functions in it tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from onnxprune.results.crew import Crew
from onnxprune.results.kept.memory import NOTHING, Memory


@dataclass(frozen=True)
class Progress:
    """A step of a long run.

    Attributes:
        stage: Named as in docs/architecture.md.
        done: How much of the stage is done.
        total: Of how much; None if that is unknown.
        message: What else is to be said: of a repair, the held-out error as it falls.
        fact: A number that was found on the way, in words: of a layer, a trial or a step.
    """

    stage: str
    done: int
    total: int | None = None
    message: str = ""
    fact: str = ""


ProgressCallback = Callable[[Progress], None]
Step = Callable[[int, int], None]
"""(done, total)"""


class Watch:
    """Who follows a stage: called with (done, total), and told more, if anybody listens. It says whether to end, and
    remembers what an earlier run found."""

    def __init__(self, step: Callable[[int, int, str], None] | None = None, clock: Teller | None = None) -> None:
        self._step, self._clock = step, clock
        self._message = ""

    def __call__(self, done: int, total: int) -> None:
        if self._step is not None:
            self._step(done, total, self._message)

    @property
    def listens(self) -> bool:
        """Whether anybody hears what is said: what is measured only to be told need not be."""
        return self._clock is not None and self._clock.listens

    def say(self, fact: str) -> None:
        """A number that was found."""
        if self._clock is not None:
            self._clock.say(fact)

    @property
    def ended(self) -> bool:
        """Whether it is to end at its best so far."""
        return self._clock is not None and self._clock.ended

    @property
    def memory(self) -> Memory:
        """What an earlier run of the same command found, and where this one keeps what it finds."""
        return NOTHING if self._clock is None else self._clock.memory

    @property
    def crew(self) -> Crew | None:
        """Who computes parts elsewhere; None: nobody."""
        return None if self._clock is None else self._clock.crew

    def shorten(self, done: int, total: int) -> None:
        """A repair was ended after `done` of its steps."""
        if self._clock is not None:
            self._clock.shorten(done, total)

    def show(self, message: str) -> None:
        """How it stands: said with every step from now on, and when the stage is done."""
        self._message = message
        if self._clock is not None:
            self._clock.show(message)


class Teller(Protocol):
    """Who passes on what is said."""

    @property
    def listens(self) -> bool: ...

    @property
    def ended(self) -> bool: ...

    @property
    def memory(self) -> Memory: ...

    @property
    def crew(self) -> Crew | None: ...

    def shorten(self, done: int, total: int) -> None: ...

    def say(self, fact: str) -> None: ...

    def show(self, message: str) -> None: ...


def watched(step: Step | None) -> Watch:
    """A callback as a Watch: itself, if it is one."""
    if isinstance(step, Watch):
        return step
    return Watch(None if step is None else lambda done, total, message: step(done, total))
