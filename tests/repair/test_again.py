"""A repair that was killed goes on where it was, and gives the same bits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxprune.repair.descent import Descent, State
from onnxprune.repair.minibatches import Minibatches, Position
from onnxprune.repair.whiten import Own
from onnxprune.results.kept.memory import Memory

SAMPLES = np.random.default_rng(0).normal(size=(60, 1, 3, 24, 24)).astype(np.float32)
STEPS, CUT = 40, 17


def batches() -> Minibatches:
    return Minibatches({"x": SAMPLES.copy()}, 50, 4, 2)


def test_the_draw_goes_on_from_a_position() -> None:
    """Also in the middle of an epoch; images are varied as they would have been."""
    whole = list(batches().steps(5, STEPS))
    for done in (1, CUT, batches().steps_per_epoch, STEPS - 1):
        rest = list(batches().steps(5, STEPS, whole[done - 1].position))
        assert len(rest) == STEPS - done
        for mine, there in zip(rest, whole[done:], strict=True):
            assert all(np.array_equal(a["x"], b["x"]) for a, b in zip(mine, there, strict=True))
    assert not np.array_equal(whole[0][0]["x"], whole[1][0]["x"])


def descended(
    after: State | None, kept: Callable[[Callable[[], State]], None], steepness: float = 1.0
) -> dict[str, Any]:
    weights = {"w": np.ones((4, 4), np.float32), "v": np.full(3, 2, np.float32)}
    descent = Descent(["w", "v"], [Own("w"), Own("v")], 0.05 * steepness, {})

    def gradients(feeds: dict[str, Any]) -> tuple[float, list[Any]]:
        mean = np.float32(feeds["x"].mean())
        return float(np.square(weights["w"]).sum()), [weights["w"] + mean, weights["v"] - mean]

    draw = batches().steps(5, STEPS, None if after is None else after.position)
    at_start = 16.0 if steepness == 1.0 else 1e-3
    descent.run(weights, draw, gradients, STEPS, at_start, least=1, after=after, kept=kept)
    return weights


@pytest.mark.parametrize("steepness", [1.0, 100.0])
def test_steps_go_on_from_a_state(tmp_path: Path, steepness: float) -> None:
    """Through the disk, after any step; also where it went uphill before and began anew with shorter ones."""
    memory = Memory(tmp_path / "run", every_s=0.0)
    slots = [memory.slot("steps", number) for number in range(STEPS + 1)]

    def keep(make: Callable[[], State]) -> None:
        state = make()
        slots[state.number].put(state)

    whole = descended(None, keep, steepness)
    for number in (1, CUT, 31, STEPS - 1):
        found = slots[number].load((State, Position))
        assert found is not None and found[0].number == number
        assert (found[0].began > 0) == (steepness > 1 and number >= 30)
        again = descended(found[0], lambda make: None, steepness)
        assert all(np.array_equal(again[name], whole[name]) for name in whole)
