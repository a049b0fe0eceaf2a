"""Lines with a time stamp for how far a long run is: for logs, pipes and `-v`, where no bar can be drawn."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

from onnxprune.report.stages import Stages
from onnxprune.results import Progress

STAMP = "%Y-%m-%d %H:%M:%S"
MINUTE_S = 60.0
PATIENCE_S = 60.0
"""A run that takes longer than this is one that somebody waits for; what is over before says nothing in a pipe."""


class Journal:
    """Writes a line when a stage is done, and how far the one that runs is whenever it is asked.

    `facts`: also every number that is found on the way. `patience_s`: how long a run may take of which nothing is said;
    the lines of this time come when it has passed.
    """

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        facts: bool = False,
        patience_s: float = 0.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._write, self._facts, self._patience_s, self._now = write, facts, patience_s, now
        self._stages, self._start, self._kept = Stages(), now(), list[str]()
        self._lock = threading.Lock()

    def __call__(self, step: Progress) -> None:
        with self._lock:
            ended = self._stages.hear(step, self._now())
            if ended is not None:
                self._line(ended)
            if step.fact and self._facts and self._stages.running is not None:
                self._line(f"{self._stages.running.what}: {step.fact}")

    def tick(self) -> None:
        """How far the stage is that runs."""
        with self._lock:
            if self._stages.running is not None:
                self._line(self._stages.running.so_far(self._now()))

    def end(self, outcome: str) -> None:
        """The last lines: of the last stage, and how it ended."""
        with self._lock:
            ended = self._stages.end(self._now())
            if ended is not None:
                self._line(ended)
            self._line(outcome)

    def _line(self, text: str) -> None:
        now = self._now()
        self._kept.append(f"{time.strftime(STAMP, time.localtime(now))}  {text}")
        if now - self._start >= self._patience_s:
            for line in self._kept:
                self._write(line)
            self._kept.clear()


@contextlib.contextmanager
def every_minute(tick: Callable[[], None], seconds: float = MINUTE_S) -> Iterator[None]:
    """Call `tick` again and again, beside what runs here."""
    over = threading.Event()

    def ticking() -> None:
        while not over.wait(seconds):
            tick()

    thread = threading.Thread(target=ticking, name="onnxprune minutes", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
