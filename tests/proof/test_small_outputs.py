"""Small outputs that have few digits: the steps in which they are computed are no difference between two networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.model.load import load
from onnxprune.proof.judge import _difference
from onnxprune.proof.tolerance import SAFETY, STEPS, Tolerance, step_of
from tests.builders import Net


def test_steps_are_found() -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal(50).astype(np.float32)
    assert step_of((wide * np.float32(1e-6) + np.float32(1.0)) - np.float32(1.0)) == 2.0**-24  # half of them below 1
    assert step_of(np.array([0.0, 3 * 2.0**-25, np.inf], np.float32), np.array([5 * 2.0**-24], np.float32)) == 2.0**-25
    assert step_of(wide * np.float32(1e-6)) < 2.0**-40
    assert step_of(np.zeros(3, np.float32)) == 0
    assert step_of(np.arange(9)) == 0


def test_whole_numbers_do_not_go_in_steps_of_one() -> None:
    assert step_of(np.array([1.0, 2.0, 7.0], np.float32)) == 2.0**-22
    assert step_of(np.array([1.0, 2.0], np.float16)) == 2.0**-9


def test_a_few_steps_are_no_difference() -> None:
    policy, step = Tolerance(1e-4, ""), 2.0**-25
    for largest in (0.0, 1e-7, 1e-3):
        x = np.array([largest, 0.0], np.float32)
        near, far = (np.array([largest, SAFETY * STEPS * step * f], np.float32) for f in (0.99, 1.01))
        assert _difference(x, near, policy.least(step))[0] < policy.relative
        assert _difference(x, far, policy.least(step))[0] > policy.relative
    one = np.array([1.0, 0.0], np.float32)
    assert _difference(one, one + np.float32(2e-4), policy.least(step))[0] == pytest.approx(2e-4, rel=1e-3)
    assert policy.least(0.0) == 0


def unlikely(bias: float) -> Net:
    """A detector that sees nothing: probabilities of about 1e-6, or 1e-7, two or three steps."""
    net = Net(17, seed=4)
    h = net.relu(net.conv(net.input(3, 6, 6), 24, 3, name="a"))
    h = net.op("GlobalAveragePool", net.relu(net.conv(h, 24, 3, name="b")))
    net.output(net.op("Sigmoid", net.op("Conv", h, net.normal(1, 24, 1, 1), np.full(1, bias, np.float32), name="z")))
    return net


@pytest.mark.parametrize("bias", [-14, -16.5])
@pytest.mark.parametrize("seed", range(6))
def test_probabilities_near_zero_are_proven(tmp_path: Path, bias: float, seed: int) -> None:
    result = onnxprune.shrink(load(unlikely(bias).model()), tmp_path / "out.onnx", ratio=0.5, seed=seed)
    assert result.proof is not None and result.proof.sensitive
