"""The stages of a run: named, timed, and told to a callback."""

from __future__ import annotations

import time
from collections.abc import Callable

from onnxprune.results.progress import Progress, ProgressCallback


class Clock:
    """Starts in the stage `load`."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._stage = "load"
        self._since = time.perf_counter()
        self._tell(0, None)

    def start(self, stage: str) -> None:
        """The stage before ends here. A stage may come again: its times add up."""
        self._close()
        self._stage = stage
        self._tell(0, None)

    def finish(self) -> dict[str, float]:
        """Seconds per stage, in the order of the run."""
        self._close()
        return dict(self._seconds)

    def steps(self, *later: str) -> Callable[[int, int], None]:
        """A callback (done, total) for the stage that runs; each time it starts anew, the next of `later` begins."""
        rest, last = list(later), 0

        def step(done: int, total: int) -> None:
            nonlocal last
            if done <= last and rest:
                self.start(rest.pop(0))
            last = done
            self._tell(done, total)

        return step

    def _close(self) -> None:
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._since = now

    def _tell(self, done: int, total: int | None) -> None:
        if self._progress is not None:
            self._progress(Progress(self._stage, done, total))
