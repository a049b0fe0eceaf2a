"""The stages of a run: named, timed, and told to a callback."""

from __future__ import annotations

import time

from onnxprune.results.crew import Crew
from onnxprune.results.ending import Ending
from onnxprune.results.kept.memory import NOTHING
from onnxprune.results.progress import Progress, ProgressCallback, Watch


class Clock:
    """Starts in the stage `load`."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._stage = "load"
        self._since = time.perf_counter()
        self._done = 0
        self.ending = Ending()
        self.memory = NOTHING
        self.crew: Crew | None = None
        self._tell(None)

    def start(self, stage: str) -> None:
        """The stage before ends here. A stage may come again: its times add up."""
        self._close()
        self._stage, self._done = stage, 0
        self._tell(None)

    def finish(self) -> dict[str, float]:
        """Seconds per stage, in the order of the run."""
        self._close()
        return dict(self._seconds)

    def steps(self, *later: str) -> Watch:
        """A callback (done, total) for the stage that runs; each time it starts anew, the next of `later` begins."""
        rest, last = list(later), 0

        def step(done: int, total: int, message: str) -> None:
            nonlocal last
            if done <= last and rest:
                self.start(rest.pop(0))
            last = self._done = done
            self._tell(total, message=message)

        return Watch(step, self)

    @property
    def listens(self) -> bool:
        """Whether there is a callback."""
        return self._progress is not None

    @property
    def ended(self) -> bool:
        """Whether the run is to end at its best so far."""
        return self.ending.asked

    def shorten(self, done: int, total: int) -> None:
        """A repair was ended after `done` of its steps."""
        self.ending.shorten("repair", done, total)

    def say(self, fact: str) -> None:
        """A number that was found in the stage that runs."""
        self._tell(None, fact=fact)

    def show(self, message: str) -> None:
        """How the stage that runs stands."""
        self._tell(None, message=message)

    def _close(self) -> None:
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._since = now

    def _tell(self, total: int | None, *, message: str = "", fact: str = "") -> None:
        if self._progress is not None:
            self._progress(Progress(self._stage, self._done, total, message, fact))
