"""Small outputs that have few digits: the steps in which they are computed are no difference between two networks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.cut import cut
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.proof.judge import _difference
from onnxprune.proof.masked import prove
from onnxprune.proof.tolerance import Tolerance, step_of
from onnxprune.trace import trace_model
from tests.builders import Net


def test_steps_are_found() -> None:
    rng = np.random.default_rng(0)
    wide = rng.standard_normal(50).astype(np.float32)
    assert step_of((wide * np.float32(1e-6) + np.float32(1.0)) - np.float32(1.0)) == 2.0**-24  # half of them below 1
    assert step_of(np.array([0.0, 3 * 2.0**-25, np.inf], np.float32), np.array([5 * 2.0**-24], np.float32)) == 2.0**-25
    assert step_of(wide * np.float32(1e-6)) < 2.0**-40
    assert step_of(np.zeros(3, np.float32)) == 0


def test_whole_numbers_do_not_go_in_steps_of_one() -> None:
    assert step_of(np.array([1.0, 2.0, 7.0], np.float32)) == 2.0**-22
    assert step_of(np.array([1.0, 2.0], np.float16)) == 2.0**-9


def test_a_few_steps_are_no_difference() -> None:
    policy, step = Tolerance(1e-4, ""), 2.0**-25
    for steps in (0, 3, 30):
        x = np.array([steps, 1], np.float32) * np.float32(step)
        near, far = (x + np.array([0, few], np.float32) * np.float32(step) for few in (15, 17))
        assert _difference(x, near, policy.least(x, near))[0] < policy.relative
        assert _difference(x, far, policy.least(x, far))[0] > policy.relative


def test_what_is_large_enough_is_relative_to_itself() -> None:
    policy, one = Tolerance(1e-4, ""), np.array([1.0, 0.0], np.float32)
    assert policy.least(one, one) == 0
    assert _difference(one, one + np.float32(2e-4), 0.0)[0] == pytest.approx(2e-4, rel=1e-3)
    assert policy.least(np.arange(3), np.arange(3)) == 0
    fine = np.array([1.234567e-6], np.float32)
    assert policy.least(fine, fine) < fine.max() / 10  # it has all its digits


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


def two_heads(bias: float) -> Net:
    """Scores, and a probability that is nearly zero."""
    net = Net(17, seed=4)
    h = net.relu(net.conv(net.input(3, 6, 6), 24, 3, name="a"))
    net.output(net.conv(net.op("GlobalAveragePool", h), 5, name="z"))
    last = net.op("GlobalAveragePool", net.relu(net.conv(h, 24, 3, name="b")))
    y = net.op("Conv", last, net.normal(1, 24, 1, 1), np.full(1, bias, np.float32), name="hidden")
    net.output(net.op("Sigmoid", y))
    return net


@pytest.mark.parametrize("bias", [-6, -14, -16])
def test_a_wrong_layer_before_a_small_output_is_seen(tmp_path: Path, bias: float) -> None:
    """The other output is right, and tells a wrong plan: only what leads to the small one can show this."""
    trace = trace_model(load(two_heads(bias).model()))
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[::2]] = False
    smaller = cut(trace, keep)
    right, wrong = tmp_path / "right.onnx", tmp_path / "wrong.onnx"
    write(smaller, right)
    assert prove(trace, keep, right).sensitive
    key = next(n.input[1] for n in smaller.proto.graph.node if n.name == "hidden")
    turned = smaller.tensors[key].with_array(np.ascontiguousarray(smaller.tensors[key].array()[:, ::-1]))
    write(smaller.replace(smaller.proto, {**smaller.tensors, key: turned}), wrong)
    with pytest.raises(VerificationError, match="differs by"):
        prove(trace, keep, wrong)
