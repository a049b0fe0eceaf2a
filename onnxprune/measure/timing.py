"""The clock: functions timed in turn, so that whatever disturbs the machine meets all of them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Runs = Sequence[Callable[[], object]]
WINDOW, STABLE, MOST_WARM_UP = 3, 0.03, 2.0  # runs, share, seconds
SHORTEST = 1e-3  # seconds: what takes less is run several times in a row


def interleaved(runs: Runs, rounds: int, *, seed: int = 0) -> Floats:
    """Seconds per call, (rounds, len(runs)): every round calls each once (short ones several times), in random order.

    What is compared should be compared within a round. Warm up before; no garbage is collected meanwhile.
    """
    counts = [max(1, math.ceil(SHORTEST / max(_timed(run, 1), 1e-9))) for run in runs]
    times = np.zeros((rounds, len(runs)))
    rng = np.random.default_rng(seed)
    was_on = gc.isenabled()
    gc.disable()
    try:
        for row in times:
            for k in rng.permutation(len(runs)):
                row[k] = _timed(runs[k], counts[k])
    finally:
        if was_on:
            gc.enable()
    return times


def warm_up(run: Callable[[], object], *, most: float = MOST_WARM_UP) -> float:
    """Call until the median of a few calls is no longer clearly below that of those before, for at most about `most`
    seconds. The median at the end, in seconds.
    """
    before, start = math.inf, time.perf_counter()
    while True:
        now = float(np.median([_timed(run, 1) for _ in range(WINDOW)]))
        if now > before * (1 - STABLE) or (before < math.inf and time.perf_counter() - start > most):
            return min(now, before)
        before = now


def paired_ratio(times: Floats, of: int = 1, to: int = 0) -> float:
    """The median over the rounds of one column by another."""
    return float(np.median(times[:, of] / times[:, to]))


def timed_session(model: onnx.ModelProto | Path, threads: int = 0, *, profile: Path | None = None) -> Any:
    """An InferenceSession on the CPU as users have it, but silent, and with threads that stop spinning when a run
    ends: they would take their core from what runs next. `profile`: where the runtime's own profile goes (a prefix).
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def _timed(run: Callable[[], object], count: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(count):
        run()
    return (time.perf_counter_ns() - start) * 1e-9 / count
