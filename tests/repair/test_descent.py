"""Descent: steps that lead uphill are shortened, others are what Adam takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.repair import descent
from onnxprune.repair.adam import Adam
from onnxprune.repair.descent import WINDOW, Descent, Weights
from onnxprune.repair.minibatches import Feeds
from onnxprune.repair.whiten import Own

Floats = NDArray[np.float32]
GOAL = np.random.default_rng(0).standard_normal(200).astype(np.float32)


def loss(weights: Weights) -> float:
    return float(np.mean((weights["w"] - GOAL) ** 2))


def gradients(weights: Weights, noise: float = 0.0) -> Callable[[Feeds], tuple[float, Sequence[Floats]]]:
    """Of `loss`; what a sample adds to the goal is its own."""
    return lambda feeds: (loss(weights), [2 * (weights["w"] - GOAL - np.float32(noise) * feeds["x"]) / GOAL.size])


def batches(count: int) -> list[list[Feeds]]:
    rng = np.random.default_rng(1)
    return [[{"x": rng.standard_normal(GOAL.size).astype(np.float32)} for _ in range(2)] for _ in range(count)]


def run(offset: float, rate: float, steps: int = 300, **options: float) -> tuple[float, float, list[float]]:
    """(loss before, loss after, its course) from a point `offset` off the goal, relative."""
    weights = {"w": GOAL * np.float32(1 + offset)}
    before, course = loss(weights), list[float]()
    Descent(["w"], [Own("w")], rate, {}).run(
        weights, batches(steps), gradients(weights, 0.01), steps, before,
        least=int(options.get("least", 40)), progress=lambda done, _: course.append(loss(weights)),
    )  # fmt: skip
    return before, loss(weights), course


def test_steps_that_lead_uphill_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    before, after, course = run(2e-3, 0.1)
    assert course[WINDOW - 2] > 10 * before and course[WINDOW - 1] == before
    assert after < before
    monkeypatch.setattr(descent, "UPHILL", np.inf)
    assert run(2e-3, 0.1)[1] > 1.5 * after


def test_others_are_those_of_adam() -> None:
    weights, other = {"w": GOAL * np.float32(2)}, {"w": GOAL * np.float32(2)}
    feeds, steps = batches(100), 100
    Descent(["w"], [Own("w")], 0.02, {}).run(weights, feeds, gradients(weights), steps, loss(weights), threads=2)
    values = other["w"].copy()
    adam = Adam([values], 0.02, steps)
    for shards in feeds:
        slopes = [gradients(other)(shard)[1][0] for shard in shards]
        adam.step([(slopes[0] + slopes[1]) / 2])
        other["w"] = values
    np.testing.assert_array_equal(weights["w"], other["w"])


def test_no_other_beginning_without_time_for_it() -> None:
    before, _, course = run(2e-3, 0.1, steps=60, least=40)
    assert before not in course


def test_what_is_no_number_is_uphill() -> None:
    weights = {"w": GOAL * np.float32(1.5)}
    calls = [0]

    def broken(feeds: Feeds) -> tuple[float, Sequence[Floats]]:
        calls[0] += 1
        value, slopes = gradients(weights)(feeds)
        return (np.nan if calls[0] == 7 else value), slopes

    seen: list[float] = []
    Descent(["w"], [Own("w")], 0.01, {}).run(
        weights, batches(120), broken, 120, loss(weights), progress=lambda done, _: seen.append(loss(weights))
    )
    assert seen[WINDOW - 1] == pytest.approx(0.25 * np.mean(GOAL**2), rel=1e-5)
    assert seen[-1] < seen[WINDOW - 1]


@pytest.mark.parametrize("at_start", [0.0, np.nan])
def test_above_nothing_nothing_begins_again(at_start: float) -> None:
    weights, plain = {"w": GOAL * np.float32(1.5)}, {"w": GOAL * np.float32(1.5)}
    for tensors, start in ((weights, at_start), (plain, 1e9)):
        Descent(["w"], [Own("w")], 0.01, {}).run(tensors, batches(90), gradients(tensors), 90, start)
    np.testing.assert_array_equal(weights["w"], plain["w"])


def test_masked_elements_stay_zero() -> None:
    mask = np.arange(GOAL.size) % 3 > 0
    weights = {"w": GOAL * mask * np.float32(1 + 1e-3)}
    start = loss(weights)
    zero: list[bool] = []
    Descent(["w"], [Own("w")], 0.1, {"w": mask}).run(
        weights, batches(120), gradients(weights), 120, 1e-3 * start,
        progress=lambda done, _: zero.append(not weights["w"][~mask].any()),
    )  # fmt: skip
    assert all(zero) and weights["w"][mask].all()


def test_who_moves_small_tensors_does_not_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One by one, or several by one thread."""
    found, names = [], [f"w{number}" for number in range(5)]
    for together in (1, 350, 1 << 30):
        monkeypatch.setattr(descent, "TOGETHER", together)
        weights = {name: GOAL * np.float32(number) for number, name in enumerate(names)}
        some = Descent(names, [Own(name) for name in names], 0.02, {})
        assert len(some._parts(weights, 1, 0.1)) == {1: 5, 350: 3, 1 << 30: 1}[together]
        some.run(weights, batches(20), lambda feeds, w=weights: (1.0, [w[n] - feeds["x"] for n in names]), 20, 1.0)
        found.append(weights)
    for other in found[1:]:
        assert all(np.array_equal(found[0][name], other[name]) for name in other)
