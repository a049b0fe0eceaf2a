"""Least squares before an activation that clips: errors that it hides do not count."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxprune.capture.moments import Moments, Rows
from onnxprune.capture.solve import solve
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.repair import rectified as module
from onnxprune.repair.rectified import Clipping, clipping_behind, error_behind, rectified, wanted
from tests.builders import Net

Float = NDArray[np.float64]
RELU, RELU6 = Clipping(0.0, np.inf), Clipping(0.0, 6.0)
clippings = st.sampled_from([RELU, RELU6, Clipping(-1.0, 1.0), Clipping(-np.inf, 0.5)])
finite = st.floats(-8, 8, width=32)


def problem(seed: int, *, features: int = 5, lost: int = 2, outputs: int = 3, count: int = 60) -> tuple[Moments, Rows]:
    """Targets of a layer with `features` inputs, of which `lost` are gone; some positions have a shift."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, features)).astype(np.float32)
    t = (x @ rng.standard_normal((features, outputs)) * 2 + rng.standard_normal(outputs)).astype(np.float32)
    shift = rng.standard_normal((count, outputs)).astype(np.float32) if seed % 2 else None
    moments = Moments.zero(features - lost, outputs)
    return moments, Rows(moments.add(x[:, lost:], t), t, shift)


def solved(moments: Moments, anchor: Float, ridge: float) -> Float:
    found = solve(moments, anchor, ridge, True)
    assert found is not None
    return found


def objective(moments: Moments, rows: Rows, weight: Float, phi: Clipping, anchor: Float, ridge: float) -> float:
    """sum |x W - S(t)|^2 and the pull towards the anchor, as in `solve`."""
    distance = rows.x @ weight - wanted(rows, weight, phi)
    pull = ridge * np.trace(moments.gram[:-1, :-1]) / (len(moments.gram) - 1)
    return float((distance**2).sum() + pull * ((weight - anchor)[:-1] ** 2).sum())


@given(st.lists(finite, min_size=1, max_size=6), st.data(), clippings)
def test_the_nearest_point_that_the_activation_does_not_tell_apart(
    goals: list[float], data: st.DataObject, phi: Clipping
) -> None:
    goal = np.array(goals, np.float32)
    guess = np.array(data.draw(st.lists(finite, min_size=len(goals), max_size=len(goals))), np.float32)
    found = phi.nearest(goal, guess)
    np.testing.assert_array_equal(phi(found), phi(goal))
    grid = np.concatenate([np.linspace(-9, 9, 73, dtype=np.float32), goal, guess])
    for k, distance in enumerate(np.abs(found - guess)):
        same = grid[phi(grid) == phi(goal[k])]
        assert distance <= np.abs(same - guess[k]).min()


@given(st.integers(0, 200), clippings, st.sampled_from([1e-5, 1e-2, 1.0]))
def test_the_error_never_rises_over_the_turns(seed: int, phi: Clipping, ridge: float) -> None:
    moments, rows = problem(seed)
    anchor = np.random.default_rng(seed + 1).standard_normal(moments.cross.shape)
    weight = solved(moments, anchor, ridge)
    errors = [objective(moments, rows, weight, phi, anchor, ridge)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TURNS", 1)
        for _ in range(6):
            weight = rectified(moments, rows, weight, phi, anchor, ridge, True)
            errors.append(objective(moments, rows, weight, phi, anchor, ridge))
            assert error_behind(rows, weight, phi) * len(rows.x) <= errors[-1] * (1 + 1e-4) + 1e-4, "a bound"
    assert all(b <= a * (1 + 1e-5) + 1e-5 for a, b in itertools.pairwise(errors)), errors


@given(st.integers(0, 50))
def test_where_nothing_is_hidden_it_is_least_squares(seed: int) -> None:
    moments, rows = problem(seed)
    anchor = np.zeros_like(moments.cross)
    plain = solved(moments, anchor, 1e-3)
    found = rectified(moments, rows, plain, Clipping(-1e6, 1e6), anchor, 1e-3, True)
    np.testing.assert_allclose(found, plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("phi", [RELU, RELU6])
def test_it_beats_least_squares_where_the_activation_hides_much(phi: Clipping) -> None:
    """Targets follow a line where they are seen, and are far from it where nobody sees them."""
    x = np.linspace(-3, 9, 200, dtype=np.float32)[:, None]
    t = np.where(x < 0, 10 * x, np.where(x > phi.high, 5 * x, x)).astype(np.float32)
    moments = Moments.zero(1, 1)
    rows = Rows(moments.add(x, t), t, None)
    plain = solved(moments, np.zeros((2, 1)), 1e-9)
    found = rectified(moments, rows, plain, phi, plain, 1e-9, True)
    assert error_behind(rows, found, phi) < 0.5 * error_behind(rows, plain, phi)
    assert moments.error(plain) < moments.error(found), "before the activation the plain fit is the best there is"


def behind(net: Net, value: str) -> Any:
    return clipping_behind(build(load(net.model())), value)


def test_which_activations_clip() -> None:
    net = Net()
    x = net.input(3, 4, 4)
    values = [net.conv(x, 4) for _ in range(6)]
    computed = net.op("ReduceMax", x, keepdims=0)
    net.output(net.relu(values[0]))
    net.output(net.op("Clip", values[1], np.float32(-1), np.float32(6)))
    net.output(net.op("Clip", values[2], None, np.float32(2)))
    net.output(net.op("Clip", values[3], computed))
    net.output(net.op("Sigmoid", values[4]))
    net.output(net.relu(values[5]), values[5])
    found = [behind(net, value) for value in values]
    assert found == [RELU, Clipping(-1, 6), Clipping(-np.inf, 2), None, None, None]


def test_clip_of_an_old_operator_set() -> None:
    net = Net(opset=7)
    y = net.conv(net.input(3, 4, 4), 4)
    net.output(net.op("Clip", y, min=0.0, max=6.0))
    assert behind(net, y) == RELU6
