"""The process that computes parts of a run for a worker of a cluster: what is asked comes as folders, one a line.

It opens the model and the samples once, as the run does. It ends with the process that started it, which holds the
other side of its standard input, and when nothing is asked for a while.
"""

from __future__ import annotations

import functools
import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from threadpoolctl import threadpool_limits

from onnxprune.capture.elsewhere import CAPTURED, TRIED, capture, try_out
from onnxprune.capture.kept import digest_of
from onnxprune.capture.samples import Samples, open_samples, traced_for
from onnxprune.data.specs import input_specs
from onnxprune.errors import DataError, OnnxPruneError
from onnxprune.model.load import load
from onnxprune.results.kept.codec import encoded
from onnxprune.results.kept.files import put, taken
from onnxprune.shrinking.recovery import RECOVERED, recover
from onnxprune.sweeping.remote_parts import ASKED, GIVEN
from onnxprune.sweeping.samples import opened
from onnxprune.sweeping.servers import DONE
from onnxprune.trace import Trace, trace_model

IDLE_S = 120.0
Answer = Callable[[Trace, Samples, Mapping[str, Any], int], Any]
ANSWERS: Mapping[str, Answer] = {CAPTURED: capture, TRIED: try_out, RECOVERED: recover}


class World:
    """The model and the samples of a run, in whichever units a part is about."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        """Raises DataError if the samples are not those of the run."""
        self.threads: int = told["threads"]
        model = load(told["model"])
        data = opened(Path(told["data"]), input_specs(model))
        self._traced, given = traced_for(model, data, None, told["samples"], told["seed"], units=told["units"])
        self.samples = open_samples(given, self._traced, max_memory=told["max_memory"], seed=told["seed"])
        if digest_of(self.samples) != told["digest"]:
            raise DataError("the samples are not those of the run")

    @functools.lru_cache(2)  # noqa: B019
    def traced(self, units: str | None) -> Trace:
        """The trace in these units; None: in those of the run."""
        facts = self._traced.facts
        if units in (None, self._traced.units_mode):
            return self._traced
        found = trace_model(self._traced.graph.model, units=units, sizes=facts.symbols)
        found.facts.measured = facts.measured
        return found

    def answer(self, asked: Mapping[str, Any]) -> Any:
        """What the part gives."""
        part = asked["part"]
        return ANSWERS[asked["kind"]](self.traced(part.get("units")), self.samples, part, self.threads)


def main() -> None:
    replies = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # whatever else speaks is not to be taken for a reply
    signal.signal(signal.SIGTERM, _interrupt)
    lines: queue.Queue[str] = queue.Queue()
    threading.Thread(target=_follow, args=[lines], daemon=True).start()
    world = None
    with threadpool_limits(1, "blas"):  # as in the run: products are summed in the same order
        while True:
            try:
                folder = Path(lines.get(timeout=IDLE_S))
            except queue.Empty:
                return
            try:
                world = world or World(json.loads(sys.argv[1]))
                value = world.answer(taken(folder / ASKED))
                with open(folder / GIVEN, "wb") as file:
                    put(file, *encoded(value))
            except (OnnxPruneError, ValueError, StopIteration, MemoryError):  # it is computed where it was asked
                (folder / GIVEN).unlink(missing_ok=True)
            replies.write(DONE)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _follow(lines: queue.Queue[str]) -> None:
    """Pass on what is asked; end when nobody holds the other side of standard input any more."""
    for line in sys.stdin:
        lines.put(line.rstrip("\n"))
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
