"""The clock: functions timed in turn, so that whatever disturbs the machine meets all of them alike."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # the processes in which models are timed do without: its import takes time and memory
    import onnx

Floats = NDArray[np.float64]
Runs = Sequence[Callable[[], object]]
Clock = Callable[[], int]
CPU = "CPUExecutionProvider"
WINDOW, STABLE, MOST_WARM_UP = 3, 0.03, 2.0  # runs, share, seconds
MOST_CALLS = 1000  # of a window
SHORTEST = 1e-3  # seconds: what takes less is run several times in a row


def clock_of(threads: int) -> Clock:
    """What times sessions of so many threads, in ns. A single one is the caller's: its own time stands still while
    other programs have the processor. Of several, only the wall clock says when all are through.
    """
    return time.thread_time_ns if threads == 1 else time.perf_counter_ns


def interleaved(runs: Runs, rounds: int, *, seed: int = 0, clock: Clock | None = None) -> Floats:
    """Seconds per call, (rounds, len(runs)): every round calls each once (short ones several times), in random order.

    What is compared should be compared within a round. Warm up before; no garbage is collected meanwhile.
    """
    counts = [max(1, math.ceil(SHORTEST / max(timed(run), 1e-9))) for run in runs]
    times = np.zeros((rounds, len(runs)))
    rng = np.random.default_rng(seed)
    was_on = gc.isenabled()
    gc.disable()
    try:
        for row in times:
            for k in rng.permutation(len(runs)):
                row[k] = timed(runs[k], counts[k], clock)
    finally:
        if was_on:
            gc.enable()
    return times


@dataclass(frozen=True)
class Settled:
    """`seconds`: the median of the last calls; `calls`: how many there were; `stable`: whether they no longer fell."""

    seconds: float
    calls: int
    stable: bool


def settle(run: Callable[[], object], *, most: float = MOST_WARM_UP, window: float = 0.0) -> Settled:
    """Call until the median of a window of calls is no longer clearly below that of the one before, for at most about
    `most` seconds. A window is WINDOW calls, or `window` seconds if they take less.
    """
    before, calls, start = math.inf, 0, time.perf_counter()
    while True:
        taken: list[float] = []
        while len(taken) < WINDOW or (sum(taken) < window and len(taken) < MOST_CALLS):
            taken.append(timed(run))
        calls += len(taken)
        now = float(np.median(taken))
        if now > before * (1 - STABLE):
            return Settled(min(now, before), calls, True)
        if before < math.inf and time.perf_counter() - start > most:
            return Settled(now, calls, False)
        before = now


def warm_up(run: Callable[[], object], *, most: float = MOST_WARM_UP) -> float:
    """`settle`, and the median at the end, in seconds."""
    return settle(run, most=most).seconds


def paired_ratio(times: Floats, of: int = 1, to: int = 0) -> float:
    """The median over the rounds of one column by another."""
    return float(np.median(times[:, of] / times[:, to]))


def undisturbed(times: Floats, size: int = 5) -> Floats:
    """The least of each column over every `size` rounds, (rounds // size, models): of runs near each other those that
    nothing else interrupted. On a busy machine longer runs are interrupted more often, which biases ratios of medians.
    """
    whole = len(times) // size
    least: Floats = times[: whole * size].reshape(whole, size, -1).min(axis=1)
    return least


def timed_session(
    model: onnx.ModelProto | Path,
    threads: int = 0,
    *,
    profile: Path | None = None,
    provider: str = CPU,
    library: bool | None = None,
) -> Any:
    """An InferenceSession as users have it, but silent, and with threads that stop spinning when a run ends: they
    would take their core from what runs next. `profile`: where the runtime's own profile goes (a prefix). `library`:
    whether the model has operators for onnxprune's library, which runs on the CPU; None: to be looked up. Raises
    RuntimeError if the runtime falls back to another provider.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    if provider == CPU:
        _equip(options, model, library)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    session = onnxruntime.InferenceSession(source, options, providers=[provider])
    used = session.get_providers()
    if used[0] != provider:
        raise RuntimeError(f"{provider} could not be used: ONNX Runtime fell back to {used[0]}")
    return session


def _equip(options: Any, model: onnx.ModelProto | Path, library: bool | None) -> None:
    if library is None:
        from onnxprune.capture.operators import equip  # here: see above

        equip(options, model)
    elif library:
        from onnxprune import native

        native.register(options)


def timed(run: Callable[[], object], count: int = 1, clock: Clock | None = None) -> float:
    """Seconds per call of `count` calls in a row, by the wall clock or by another one."""
    clock = clock or time.perf_counter_ns
    start = clock()
    for _ in range(count):
        run()
    return (clock() - start) * 1e-9 / count
