"""Rounds: all subjects, in random order, on the same feed, as often as asked; sessions anew in between.

The clock is one of the tests: subjects say how long they take.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from onnxprune.benching import rounds
from onnxprune.benching.rounds import BLOCKS, MIN_ROUNDS, RUN_S, measure
from onnxprune.measure import timing


class Clock:
    """What `time` is to the code under test: it goes on when somebody says so, and a little with every look."""

    def __init__(self) -> None:
        self.now_ns = 0

    def perf_counter_ns(self) -> int:
        self.now_ns += 100
        return self.now_ns

    def perf_counter(self) -> float:
        return self.perf_counter_ns() * 1e-9

    process_time = perf_counter

    def go_on(self, seconds: float) -> None:
        self.now_ns += round(seconds * 1e9)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(rounds, "time", found)
    monkeypatch.setattr(timing, "time", found)
    return found


class Subjects:
    """Functions that note who was called with which feed; a call takes `seconds`."""

    def __init__(self, clock: Clock, count: int, seconds: float = 20e-6) -> None:
        self.clock, self.count, self.seconds = clock, count, seconds
        self.calls: list[tuple[int, int]] = []
        self.renewals = 0

    def renew(self) -> list[Callable[[int], object]]:
        self.renewals += 1
        return [self.subject(k) for k in range(self.count)]

    def subject(self, k: int) -> Callable[[int], object]:
        def call(feed: int) -> None:
            self.calls.append((k, feed))
            self.clock.go_on(self.seconds)

        return call


def test_exactly_as_many_rounds_as_asked(clock: Clock) -> None:
    subjects = Subjects(clock, 3)
    found = measure(subjects.renew, 2, seconds=1.0, rounds=30, seed=0)
    assert found.times.shape == (30, 3, found.samples)
    assert found.times == pytest.approx(20e-6, rel=0.01) and found.cpu == pytest.approx(20e-6, rel=0.05)
    assert found.blocks.tolist() == sorted(found.blocks.tolist()) and len(set(found.blocks)) == BLOCKS
    assert found.sessions == subjects.renewals <= BLOCKS
    assert len(found.inferences) == len(found.warmup) == len(found.stable) == 3


def test_both_orders_occur_and_a_round_feeds_all_the_same(clock: Clock) -> None:
    subjects = Subjects(clock, 2, 2e-3)  # so long that a sample is one call
    found = measure(subjects.renew, 3, seconds=1.0, rounds=12, seed=0)
    assert found.inferences == [1, 1]
    timed = [call for call in subjects.calls if call[1]]  # the warm-up has feed 0 only
    turns = [(k, feed) for i, (k, feed) in enumerate(timed) if i == 0 or timed[i - 1] != (k, feed)]
    pairs = list(zip(turns[::2], turns[1::2], strict=True))
    assert len(pairs) == 8 and all(a[1] == b[1] and a[0] != b[0] for a, b in pairs)
    assert {a[0] for a, _ in pairs} == {0, 1}, "who comes first is drawn"


@pytest.mark.parametrize("seconds", [0.002, 0.02])
def test_fast_subjects_run_once_untimed_when_their_turn_comes(clock: Clock, seconds: float) -> None:
    turns: list[list[int]] = []

    def renew() -> list[Callable[[int], object]]:
        return [subject(0), subject(1)]

    def subject(k: int) -> Callable[[int], object]:
        def call(feed: int) -> None:
            if feed:  # the warm-up has feed 0 only
                if turns and turns[-1][0] == k:
                    turns[-1].append(k)
                else:
                    turns.append([k])
            clock.go_on(seconds)

        return call

    found = measure(renew, 2, seconds=1.0, rounds=2, seed=0)
    assert found.inferences == [1, 1] and found.lead == (1 if seconds < RUN_S else 0)
    assert [len(turn) for turn in turns] == [found.lead + found.samples] * 2, "one round of the two has feed 1"
    assert found.times.shape == (2, 2, found.samples)


def test_slow_subjects_have_enough_rounds_for_an_interval(clock: Clock) -> None:
    subjects = Subjects(clock, 2, 20e-3)
    found = measure(subjects.renew, 1, seconds=0.001, rounds=None, seed=0)
    assert len(found.times) == MIN_ROUNDS and found.samples == 1


def test_the_time_that_was_given_is_used(clock: Clock) -> None:
    """And not much more, whatever a round takes."""
    for seconds in (20e-6, 300e-6, 9e-3):
        subjects = Subjects(clock, 2, seconds)
        start = clock.perf_counter()
        found = measure(subjects.renew, 1, seconds=2.0, rounds=None, seed=0)
        assert 2.0 < clock.perf_counter() - start < 2.0 * 1.4
        assert found.times.sum() > 0.5


def test_the_order_depends_on_the_seed_only(clock: Clock) -> None:
    def order(seed: int) -> list[int]:
        subjects = Subjects(clock, 2, 2e-3)
        measure(subjects.renew, 2, seconds=1.0, rounds=16, seed=seed)
        timed = [k for k, feed in subjects.calls if feed]
        return [k for i, k in enumerate(timed) if i == 0 or timed[i - 1] != k or i % 2 == 0]

    assert np.mean(order(1)) == pytest.approx(0.5, abs=0.3)
