"""Candidates against each other: how long each takes, run in turn, and how far each is from the original."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.measure.files import as_file
from onnxprune.measure.timing import clock_of, interleaved, timed_session, undisturbed, warm_up
from onnxprune.model.load import Model

SECONDS, LEAST, MOST = 1.5, 25, 400


def seconds_of(models: Sequence[Model], feed: Mapping[str, NDArray[Any]], threads: int) -> list[float]:
    """What a run of each takes."""
    with ExitStack() as stack:
        paths = [stack.enter_context(as_file(model)) for model in models]
        sessions = [timed_session(path, threads) for path in paths]
        runs = [functools.partial(session.run, None, dict(feed)) for session in sessions]
        once = max(warm_up(run) for run in runs)
        rounds = int(min(max(SECONDS / max(once, 1e-9), LEAST), MOST))
        times = undisturbed(interleaved(runs, rounds, clock=clock_of(threads)))
    return [float(value) for value in np.median(times, axis=0)]
