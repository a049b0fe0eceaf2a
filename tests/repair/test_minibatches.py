"""Minibatches: what is fitted, what judges, and that no sample is both."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx.parser
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxprune.data import More, open_data
from onnxprune.model.load import load
from onnxprune.repair.ahead import ahead
from onnxprune.repair.augment import ZOOM
from onnxprune.repair.minibatches import VARIED_FROM, Feeds, Minibatches

Array = NDArray[Any]


def numbered(sizes: list[int]) -> list[Feeds]:
    """Batches of these sizes of rows that hold their own number, twice: as `x` (n, 2) and as `y` (n,)."""
    ends = list(itertools.accumulate(sizes, initial=0))
    rows = [np.arange(a, b) for a, b in itertools.pairwise(ends)]
    return [{"x": np.stack([r, -r], axis=1).astype(np.float32), "y": r.astype(np.int64)} for r in rows]


def epoch(samples: Minibatches, seed: int) -> list[list[Feeds]]:
    return list(samples.steps(seed, samples.steps_per_epoch))


def ids(steps: list[list[Feeds]]) -> list[int]:
    """Numbers of all rows, in order; both inputs of a sample stay together."""
    found = [feeds for step in steps for feeds in step]
    assert all((feeds["x"][:, 0] == feeds["y"]).all() for feeds in found)
    return [int(k) for feeds in found for k in feeds["y"]]


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=8),
    st.lists(st.integers(1, 20), min_size=1, max_size=3),
    st.integers(0, 5),
)
def test_every_sample_at_most_once_an_epoch_and_none_that_judges(fit: list[int], judge: list[int], seed: int) -> None:
    samples = Minibatches.of(numbered([*fit, *judge]), len(judge))
    if isinstance(samples, str):
        assert "too few" in samples
        assert sum(fit) < 8 or sum(judge) < max(2, sum(fit) // 20), "only if there are too few"
        return
    first, second = epoch(samples, seed), epoch(samples, seed)
    assert ids(first) == ids(second), "the seed says the order"
    assert len(set(ids(first))) == len(ids(first)) == samples.batch * samples.steps_per_epoch
    assert set(ids(first)) <= set(range(sum(fit)))
    assert sum(fit) - len(ids(first)) < samples.batch, "less than a step is left out"
    assert {len(feeds["y"]) for step in first for feeds in step} == {samples.size}
    assert {len(step) for step in first} == {samples.count}
    judged = ids([samples.judged()])
    assert judged == list(range(sum(fit), sum(fit) + len(judged))) and len(judged) > sum(judge) - samples.size


def test_samples_that_are_not_held_are_read_when_they_are_needed() -> None:
    """They are fitted like the others, and none of them judges."""
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 2] x, int64[n] y) => (float[n, 2] z, int64[n] w) '
        "{ z = Identity(x) w = Identity(y) }"
    )
    held, rest = numbered([24, 6]), np.arange(30, 70)
    more = open_data({"x": np.stack([rest, -rest], 1).astype(np.float32), "y": rest}, load(model))
    samples = Minibatches.of(held, 1, more=More(more))
    assert isinstance(samples, Minibatches) and samples.fit == 24 and samples.seen == 64
    assert sorted(ids(epoch(samples, 0))) != list(range(60))
    two = [*epoch(samples, 0), *epoch(samples, 1)]
    assert set(ids(two)) == {*range(24), *rest.tolist()}
    assert ids([samples.judged()]) == list(range(24, 24 + 6 // samples.size * samples.size))
    assert isinstance(alone := Minibatches.of(held, 1), Minibatches) and alone.seen == 24


def test_samples_that_judge_and_are_not_held_are_read_as_far_as_they_are_wanted() -> None:
    model = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> g (float[n, 2] x, int64[n] y) => (float[n, 2] z, int64[n] w) '
        "{ z = Identity(x) w = Identity(y) }"
    )
    held = numbered([24, 6])
    fit, judge = (
        open_data({"x": np.stack([rows, -rows], 1).astype(np.float32), "y": rows}, load(model))
        for rows in (np.arange(30, 70), np.arange(70, 90))
    )
    samples = Minibatches.of(held, 1, more=More(fit, judge))
    assert isinstance(samples, Minibatches)
    for most, more_of_them in ((3, 0), (10, 4), (99, 20)):
        expected = [*range(24, 30), *range(70, 70 + more_of_them)]
        some = samples.judging(most)
        assert ids([some.judged()]) == expected[: len(expected) // some.size * some.size]
        assert all(np.array_equal(feed["x"][:, 0], feed["y"]) for feed in some.judged())
        assert (some.fit, some.seen) == (24, 64) and set(ids(epoch(some, 0))) <= {*range(24), *range(30, 70)}
    assert ids([replace(samples, more=More(fit)).judging(99).judged()]) == ids([samples.judged()])


def test_what_fails_while_it_is_made_ahead_is_raised() -> None:
    def failing() -> Iterator[int]:
        yield 1
        raise ValueError("no more")

    coming = ahead(failing())
    assert next(coming) == 1
    with pytest.raises(ValueError, match="no more"):
        next(coming)


@given(st.integers(1, 5), st.integers(1, 60), st.integers(1, 4), st.integers(0, 5))
def test_rows_of_a_fixed_batch_stay_together(group: int, fit: int, judge: int, seed: int) -> None:
    samples = Minibatches.of(numbered([group] * (fit + judge)), judge, whole={"x"})
    assert isinstance(samples, str) == (fit < 8)
    assume(not isinstance(samples, str))
    assert isinstance(samples, Minibatches)
    for step in epoch(samples, seed):
        for feeds in step:
            first = int(feeds["y"][0])
            assert feeds["y"].tolist() == list(range(first, first + group)) and first % group == 0
            assert first < fit * group
    assert ids([samples.judged()]) == list(range(fit * group, (fit + judge) * group))


def test_epochs_differ() -> None:
    samples = Minibatches.of(numbered([40, 10]), 1)
    assert isinstance(samples, Minibatches)
    stream = samples.steps(0, 2 * samples.steps_per_epoch)
    one, two = (list(itertools.islice(stream, samples.steps_per_epoch)) for _ in range(2))
    assert ids(one) != ids(two) and set(ids(one)) == set(ids(two)) == set(range(40))
    assert next(stream, None) is None
    assert ids(one) != ids(epoch(samples, 1))


def test_samples_that_come_more_often_are_varied_more() -> None:
    """A ramp shows how much it was zoomed: by its slope."""
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (50, 3, 32, 32))
    samples = Minibatches.of([{"x": ramp}] * 2, 1)
    assert isinstance(samples, Minibatches)
    reach = []
    for epochs in (1, VARIED_FROM, 3 * VARIED_FROM):
        feeds = itertools.chain(*samples.steps(0, epochs * samples.steps_per_epoch))
        slopes = np.array([abs(x[0, 16, 17] - x[0, 16, 16]) for f in itertools.islice(feeds, 20) for x in f["x"]])
        reach.append(float(np.abs(np.log(slopes[slopes > 0])).max()))
    assert reach[0] <= ZOOM / VARIED_FROM + 1e-3
    assert ZOOM / 2 < reach[1] <= ZOOM + 1e-3 and reach[2] == pytest.approx(reach[1], abs=0.1)


@pytest.mark.parametrize(
    ("batches", "reason"),
    [
        ([{"x": np.zeros((9, 3))}, {"x": np.zeros((9, 4))}], "the samples differ in shape"),
        ([{"x": np.zeros((9, 3))}, {"x": np.zeros((9, 3, 1))}], "the samples differ in shape"),
        ([{"x": np.zeros((9, 3))}, {"y": np.zeros((9, 3))}], "the samples differ in shape"),
        ([{"x": np.zeros((9, 3)), "k": np.zeros(())}] * 2, "an input is a single number"),
        ([{"x": np.zeros((9, 3)), "k": np.zeros((1, 3))}] * 2, "the inputs differ in their number of rows"),
    ],
    ids=["size", "rank", "name", "scalar", "not one row a sample"],
)
def test_what_cannot_be_cut_anew(batches: list[Feeds], reason: str) -> None:
    found = Minibatches.of(batches, 1)
    assert isinstance(found, str) and found.startswith(reason)


def test_fixed_batches_of_different_size_cannot_be_cut_anew() -> None:
    batches = [{"x": np.ones((rows, 4), np.float32), "t": np.array(np.nan, np.float32)} for rows in (8, 8, 5)]
    assert Minibatches.of(batches, 1, whole={"t"}) == "the samples differ in shape"


def test_what_is_the_same_for_all_samples_is_in_every_feed() -> None:
    """A threshold and a first state, whose first axis counts no samples."""
    batches = [{"x": np.full((1, 3), k, np.float32), "k": np.array(0.5), "h": np.zeros((4, 1, 2))} for k in range(20)]
    found = Minibatches.of(batches, 4, whole={"x", "k", "h"})
    assert isinstance(found, Minibatches) and (found.fit, found.size, found.count) == (16, 1, 4)
    feeds = [*found.fitted(), *found.judged(), *(shard for step in found.steps(0, 4) for shard in step)]
    assert len(feeds) == 16 + 4 + 16
    assert all(feed["k"] == 0.5 and feed["h"].shape == (4, 1, 2) and feed["x"].shape == (1, 3) for feed in feeds)
    assert sorted(feed["x"][0, 0] for feed in feeds[:20]) == list(range(20))


def test_images_are_varied_beside_what_is_the_same() -> None:
    batches = [{"x": np.random.default_rng(k).random((1, 3, 32, 32), np.float32), "k": np.array(2)} for k in range(10)]
    found = Minibatches.of(batches, 2, whole={"x", "k"})
    assert isinstance(found, Minibatches)
    drawn = [shard["x"] for step in found.steps(0, 40) for shard in step]
    assert not any(np.array_equal(one, batch["x"]) for one in drawn[-4:] for batch in batches)


@pytest.mark.parametrize(("value", "reason"), [(0.0, "an input is a single number that differs"), (1.0, "all samples")])
def test_what_differs_is_not_the_same(value: float, reason: str) -> None:
    batches = [{"k": np.array(1.0)}, {"k": np.array(value)}]
    found = Minibatches.of(batches, 1, whole={"k"})
    assert isinstance(found, str) and found.startswith(reason)


def test_nothing_without_held_out_samples() -> None:
    found = Minibatches.of(numbered([40, 40]), 0)
    assert found == "the samples are too few: 80 to fit and 0 to judge, and it takes 16 and 4"


def test_large_samples_come_in_smaller_shards_of_the_same_steps() -> None:
    samples = Minibatches.of(numbered([300, 20]), 1)
    assert isinstance(samples, Minibatches) and samples.size == 8
    smaller = samples.in_shards(3)
    assert smaller.size == 2 and smaller.batch == samples.batch
    assert ids(epoch(smaller, 3)) == ids(epoch(samples, 3))
    assert samples.in_shards(100) == samples
