"""`--time`: how much effort that is here."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from onnxprune.api.provided import threads_of
from onnxprune.capture.samples import Samples
from onnxprune.options.compressing import CompressOptions
from onnxprune.options.quantizing import QuantizeOptions
from onnxprune.options.shrinking import ShrinkOptions, SparsifyOptions
from onnxprune.repair.pace import Pace, pace_of
from onnxprune.results.clock import Clock
from onnxprune.results.providers import Threads
from onnxprune.results.units import format_seconds
from onnxprune.trace.groups import Trace

SHARE = 0.85
"""Of the time that adjusting weights may take; the rest is for what comes before and behind it."""
O = TypeVar("O", bound=ShrinkOptions | SparsifyOptions | QuantizeOptions | CompressOptions)  # noqa: E741


def paced(
    options: O, trace: Trace, samples: Samples | None, clock: Clock, *, units: float = 1.0
) -> tuple[O, tuple[str, ...]]:
    """The options with an effort in place of a time, and what is to be said of it. `units`: how many times the usual
    steps are taken at normal effort.
    """
    seconds = options.allowed
    if seconds is None or samples is None:
        return options, ()
    clock.start("pace")
    found = clock.memory.call("pace", [options.time, units], lambda: _measured(trace, samples, threads_of(options, 0)))
    if found is None:
        return replace(options, time=None), (
            f"--time {options.time} has no effect: no weights can be adjusted together",
        )
    pace = Pace(*found)
    effort = pace.effort(SHARE * seconds / units)
    usual = format_seconds(units * pace.seconds * pace.steps)
    note = f"--time {options.time} is --effort {effort:g} here, where normal takes about {usual}"
    return replace(options, time=None, effort=effort), (f"{note}; with it the same comes again",)


def _measured(trace: Trace, samples: Samples, threads: Threads) -> tuple[float, int] | None:
    pace = pace_of(trace, samples, threads=threads)
    return None if pace is None else (pace.seconds, pace.steps)
