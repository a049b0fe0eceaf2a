"""Interleaved timing: every round runs each subject once, in random order, so that what disturbs the machine hits all.

A run is a few *samples* in a row, each timed by itself; a sample is one inference, or several of a very fast model.
Fast models run once before that, untimed: caches and threads are as another model left them, while in use a model
follows itself.
With every sample goes what its threads waited for a core, and what they ran: what of it counts, preemption.py says. If
the system takes the core away for some milliseconds, one sample is lost, not the run. Runs in the worker; knows nothing
of models: a *subject* is a function of a feed's number.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray

from onnxprune.benching.waiting import Waiting
from onnxprune.measure.timing import Settled, settle, timed

Subject = Callable[[int], object]
Renew = Callable[[], "list[Subject]"]

MIN_SAMPLE_S = 50e-6  # a sample takes at least so long: the share of the clock is then below 0.5 %, the same for all
RUN_S = 10e-3  # a run is as many samples as fit, at least one
MOST_SAMPLES = 9
WINDOW_S = 3e-3
BLOCKS = 12
MIN_ROUNDS = 6  # fewer have no 95 % interval
RENEWAL_SHARE = 0.3  # of the time, at most, goes into opening sessions anew
WARMUP_SHARE = 0.25  # of the time, at most, goes into warming up


@dataclass
class Timing:
    """`times`, `waited`, `cpu` (rounds, subjects, samples): seconds per inference, on the clock, and of all threads
    together waiting for a core and running. `blocks` (rounds,) numbers the stretches.

    `lead`: untimed samples before those of a run. `inferences` of a sample, `warmup`, `stable`: one per subject.
    `sessions`: how often the subjects were made.
    """

    samples: int
    lead: int
    inferences: list[int]
    warmup: list[int]
    stable: list[bool]
    sessions: int = 1
    rows: list[list[list[tuple[float, float, float]]]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    @property
    def times(self) -> NDArray[np.float64]:
        return self._column(0)

    @property
    def waited(self) -> NDArray[np.float64]:
        return self._column(1)

    @property
    def cpu(self) -> NDArray[np.float64]:
        return self._column(2)

    def _column(self, which: int) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.array(self.rows, np.float64)[..., which]
        return found

    @property
    def blocks(self) -> NDArray[np.intp]:
        return np.array(self.owners, np.intp)


def measure(renew: Renew, feeds: int, *, seconds: float, rounds: int | None, seed: int) -> Timing:
    """Time the subjects that `renew` makes (anew at every call) for about `seconds`, or for exactly `rounds` rounds.

    At least MIN_ROUNDS rounds are done unless `rounds` says otherwise, however long they take.
    """
    rng = np.random.default_rng(seed)
    start = time.perf_counter()
    subjects = renew()
    warm = _warm_all(subjects, WARMUP_SHARE * seconds)
    cost = time.perf_counter() - start
    inner = [max(1, math.ceil(MIN_SAMPLE_S / max(one.seconds, 1e-9))) for one in warm]
    each = [count * one.seconds for count, one in zip(inner, warm, strict=True)]
    samples = max(1, min(MOST_SAMPLES, int(RUN_S / max(each))))
    lead = int(min(each) < RUN_S)
    timing = Timing(samples, lead, inner, [one.calls for one in warm], [one.stable for one in warm])
    one_round = sum(each) * (lead + samples)
    expected = seconds / one_round if rounds is None else rounds
    blocks = max(1, min(BLOCKS, round(expected) if rounds is not None else max(MIN_ROUNDS, int(expected / 2))))
    budget = seconds if rounds is None else one_round * rounds
    renewals = min(blocks - 1, int(RENEWAL_SHARE * budget / max(cost, 1e-9)))
    due = {round(k * blocks / (renewals + 1)) for k in range(1, renewals + 1)}
    start = time.perf_counter()
    for block in range(blocks):
        if block in due:
            del subjects
            subjects = renew()
            _warm_all(subjects, WARMUP_SHARE * budget / blocks)
            timing.sessions += 1
        if rounds is None:
            end = start + seconds * (block + 1) / blocks
            _stretch(subjects, feeds, timing, block, rng, lambda done, end=end: time.perf_counter() < end or not done)  # type: ignore[misc]
        else:
            count = rounds * (block + 1) // blocks - rounds * block // blocks
            _stretch(subjects, feeds, timing, block, rng, lambda done, count=count: done < count)  # type: ignore[misc]
    return timing


def _warm_all(subjects: Sequence[Subject], most_s: float) -> list[Settled]:
    return [settle(partial(subject, 0), most=most_s / len(subjects), window=WINDOW_S) for subject in subjects]


def _stretch(
    subjects: Sequence[Subject],
    feeds: int,
    timing: Timing,
    block: int,
    rng: np.random.Generator,
    more: Callable[[int], bool],
) -> None:
    """Rounds for as long as `more` (rounds done) says. No garbage is collected meanwhile."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    waiting = Waiting()  # of the threads of these sessions
    try:
        done = 0
        while more(done):
            feed = len(timing.rows) % feeds  # the same for all: values may matter
            row: list[list[tuple[float, float, float]]] = [[]] * len(subjects)
            for k in rng.permutation(len(subjects)):
                run = partial(subjects[k], feed)
                for _ in range(timing.lead):
                    timed(run, timing.inferences[k])
                row[k] = [_sample(run, timing.inferences[k], waiting) for _ in range(timing.samples)]
            timing.rows.append(row)
            timing.owners.append(block)
            done += 1
    finally:
        waiting.close()
        if was_on:
            gc.enable()


def _sample(run: Callable[[], object], count: int, waiting: Waiting) -> tuple[float, float, float]:
    """Seconds per inference: on the clock, waited, run."""
    waited, cpu = waiting.seconds(), time.process_time()
    taken = timed(run, count)
    cpu = time.process_time() - cpu
    return taken, (waiting.seconds() - waited) / count, cpu / count
