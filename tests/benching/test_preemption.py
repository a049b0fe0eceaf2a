"""Times on a machine that other programs use: simulated, where the truth is known; and how long threads really wait."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from onnxprune.benching.preemption import Paired, Samples, paired
from onnxprune.benching.results import SAME, SLOWER, UNDECIDED
from onnxprune.benching.statistics import paired_ratio, verdict
from onnxprune.benching.waiting import TASKS, Waiting

RUNS = 100


def simulated(
    true: tuple[float, ...],
    seed: int,
    *,
    threads: int = 1,
    rounds: int = 60,
    samples: int = 9,
    slice_s: float = 3e-3,
    away_s: float = 12e-3,
    noise: float = 0.01,
) -> Samples:
    """Models that take the times `true` alone. A thread keeps its core for about `slice_s`, then waits about `away_s`.

    With several threads an inference waits for the last of them; all of them wait on their own.
    """
    rng = np.random.default_rng(seed)
    shape = (rounds, len(true), samples)
    alone = np.array(true)[:, None] * np.exp(noise * rng.standard_normal(shape))
    alone = alone * np.exp(0.005 * rng.standard_normal(12))[np.arange(rounds) * 12 // rounds][:, None, None]
    count = rng.poisson(alone / slice_s, (threads, *shape)) if away_s else np.zeros((threads, *shape), int)
    waits = away_s * rng.gamma(np.maximum(count, 1e-12))
    blocks = np.arange(rounds) * 12 // rounds
    cold = 1 + 0.02 * (count.max(axis=0) > 0)  # what was in the cache is gone afterwards
    return Samples(alone * cold + waits.max(axis=0), waits.sum(axis=0), alone * cold * threads, blocks, threads)


def fastest(samples: Samples, seed: int) -> float:
    """The median of the fastest samples of runs by each other: without regard for waiting."""
    runs = samples.times.min(axis=2)
    return paired_ratio(runs[:, 1], runs[:, 0], samples.blocks, seed).value


def share(true: float, of: list[Paired]) -> float:
    return float(np.mean([found.ratio.low <= true <= found.ratio.high for found in of]))


CASES = {
    "short": {"true": (0.2e-3, 0.2e-3), "samples": 9},
    "as long as a slice": {"true": (3e-3, 3e-3), "samples": 3},
    "long": {"true": (30e-3, 30e-3), "samples": 1, "rounds": 40},
}


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("name", CASES)
def test_a_model_is_the_same_as_itself(name: str, threads: int) -> None:
    found = [paired(simulated(seed=seed, threads=threads, **CASES[name]), 1, 0, seed) for seed in range(RUNS)]
    assert np.mean([verdict(one.ratio) in (SAME, UNDECIDED) for one in found]) >= 0.95


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(("base", "samples"), [(0.2e-3, 9), (2e-3, 5), (8e-3, 1)])
def test_the_true_ratio_is_within_the_interval(base: float, samples: int, threads: int) -> None:
    ratio = 2.4
    made = [simulated((base, ratio * base), seed, threads=threads, samples=samples) for seed in range(RUNS)]
    assert share(ratio, [paired(one, 1, 0, seed) for seed, one in enumerate(made)]) >= 0.9


def test_waiting_is_not_taken_for_work() -> None:
    """Where the median of the fastest samples was wrong by far: one model fits into a slice, the other does not."""
    made = [simulated((3e-3, 7.2e-3), seed, samples=1, away_s=40e-3) for seed in range(RUNS)]
    assert np.median([fastest(one, seed) for seed, one in enumerate(made)]) > 1.5 * 2.4
    found = [paired(one, 1, 0, seed) for seed, one in enumerate(made)]
    assert np.median([one.ratio.value for one in found]) == pytest.approx(2.4, rel=0.03)
    assert all(one.ratio.high < 1.25 * 2.4 and one.disturbed > 0.5 and one.rounds == 60 for one in found)


def test_ten_percent_more_are_found() -> None:
    made = [simulated((2e-3, 2.2e-3), seed, samples=4) for seed in range(RUNS)]
    assert np.mean([verdict(paired(one, 1, 0, seed).ratio) == SLOWER for seed, one in enumerate(made)]) >= 0.95


def test_on_an_idle_machine_the_fastest_samples_count() -> None:
    samples = simulated((1e-3, 1.3e-3), 0, away_s=0)
    found = paired(samples, 1, 0, 0)
    assert found.ratio.value == fastest(samples, 0) and (found.disturbed, found.rounds) == (0, 60)


def test_of_several_threads_rounds_with_waiting_are_left_out_or_said_to_be_uncertain() -> None:
    some = paired(simulated((1e-3, 2.4e-3), 0, threads=2, samples=4), 1, 0, 0)
    assert 12 <= some.rounds < 60 and 0 < some.disturbed < 1
    none = simulated((20e-3, 48e-3), 0, threads=2, samples=1)
    found = paired(none, 1, 0, 0)
    assert found.disturbed > 0.9 and found.rounds == 60
    assert found.ratio.low <= fastest(none, 0) <= found.ratio.high and found.ratio.low <= 2.4 <= found.ratio.high


@pytest.mark.skipif(not TASKS.is_dir() or not hasattr(os, "sched_setaffinity"), reason="Linux times waiting")
def test_waiting_for_a_core_is_seen() -> None:
    """Two programs that want the same core."""
    before = os.sched_getaffinity(0)
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        core = {min(before)}
        os.sched_setaffinity(other.pid, core)
        os.sched_setaffinity(0, core)
        waiting = Waiting()
        clock, cpu = time.perf_counter(), time.process_time()
        start = waiting.seconds()  # looked up within what the clock sees: the system may take the core in between
        while waiting.seconds() - start < 0.02:  # ends as soon as others got the core for 20 ms
            pass
        waited = waiting.seconds() - start
        passed, ran = time.perf_counter() - clock, time.process_time() - cpu
        assert waited <= passed and ran < passed
        waiting.close()
        assert waiting.seconds() >= 0
    finally:
        other.kill()
        other.wait()
        os.sched_setaffinity(0, before)
