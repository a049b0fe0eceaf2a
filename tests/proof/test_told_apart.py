"""A proof that could not have failed is none: each part of a plan must be told apart, or the result is unproven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.errors import VerificationError
from onnxprune.model.load import load
from onnxprune.proof.judge import Differs
from onnxprune.proof.rounds import INSIDE
from onnxprune.proof.unproven import Unproven
from tests.builders import Net
from tests.proof.networks import faint, frames, hidden_arm, proof_of, two_arms, two_rates


def test_lengths_are_such_that_attention_has_something_to_weigh(tmp_path: Path) -> None:
    """Over one frame the softmax is 1, whatever the scale: with lengths of 0 and 1, a wrong one was no difference."""
    assert proof_of(frames(), tmp_path).sensitive
    with pytest.raises(Differs):
        proof_of(frames(), tmp_path, {"scale": lambda value: value * np.float32(1.1)})


def test_one_part_that_shows_does_not_speak_for_another(tmp_path: Path) -> None:
    assert proof_of(hidden_arm(), tmp_path).untold == ("dead1", "dead0")


def test_what_shows_in_no_output_is_compared_inside(tmp_path: Path) -> None:
    proof = proof_of(two_arms(), tmp_path)
    assert proof.sensitive and INSIDE in proof.notes
    with pytest.raises(Differs, match="output"):
        proof_of(two_arms(), tmp_path, {"dead_w": lambda value: value * np.float32(1.01)})


def test_layers_that_the_outputs_hardly_feel_are_told_apart(tmp_path: Path) -> None:
    """As in deep networks with random weights, whose first layers do not move the outputs by more than rounding."""
    assert proof_of(faint(), tmp_path).sensitive
    with pytest.raises(Differs, match="output"):
        proof_of(faint(), tmp_path, {"a_w": lambda value: value * np.float32(1.01)})


def test_what_is_multiplied_by_zero_needs_no_telling_apart(tmp_path: Path) -> None:
    assert proof_of(two_arms(zeros=True), tmp_path).sensitive


def test_a_branch_that_wants_other_sizes_is_told_apart(tmp_path: Path) -> None:
    window = {"x": np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32), "rate": np.array(16000)}
    assert proof_of(two_rates(), tmp_path, samples=window, sizes={"samples": 64}).sensitive


def test_over_one_frame_queries_and_keys_are_compared_inside(tmp_path: Path) -> None:
    """And so is the scale behind them, which no output shows."""
    proof = proof_of(frames(static=1), tmp_path)
    assert proof.sensitive and INSIDE in proof.notes
    with pytest.raises(Differs):
        proof_of(frames(static=1), tmp_path, {"scale": lambda value: value * np.float32(1.1)})


def test_every_branch_is_told_apart(tmp_path: Path) -> None:
    net = Net(17, seed=6)
    h = net.gemm(net.declare("x", ["N", 6]), 8, name="a")
    for name in "bcd":
        h = net.add(h, net.gemm(net.relu(net.gemm(h, 8)), 8), name=name)
    net.output(net.gemm(h, 4), rank=2)
    result = onnxprune.shrink(load(net.model()), tmp_path / "o.onnx", units="blocks", ratio=0.7)
    assert result.plan.removed_count == 2 and result.proof is not None and result.proof.sensitive


def test_unproven_results_are_written_only_if_that_is_allowed(tmp_path: Path) -> None:
    model, out = load(hidden_arm()), tmp_path / "out.onnx"
    with pytest.raises(Unproven, match="unproven: whatever leaves 'dead1', 'dead0'") as caught:
        onnxprune.shrink(model, out, ratio=0.5)
    assert caught.value.exit_code == 4 and caught.value.hint is not None
    assert all(way in caught.value.hint for way in ("--data", "--exclude 'dead1'", "--allow-unproven"))
    assert not out.exists()
    assert onnxprune.shrink(model, out, ratio=0.5, exclude=["dead*"], force=True).proof is not None
    result = onnxprune.shrink(model, out, ratio=0.5, allow_unproven=True, force=True)
    assert result.proof is not None and result.proof.untold == ("dead1", "dead0") and result.proof.status == "unproven"
    failure = onnxprune.verify(model, out).failure()
    assert isinstance(failure, VerificationError) and "'dead0'" in failure.message


def test_sparse_weights_are_told_apart_one_by_one(tmp_path: Path) -> None:
    """Inside as well: those of an arm that is multiplied by zero show in no output."""
    out = tmp_path / "out.onnx"
    result = onnxprune.sparsify(load(two_arms()), out, sparsity=0.5)
    proof = result.sparsity.proof
    assert proof is not None and not proof.untold and INSIDE in proof.notes


def test_a_literal_batch_is_what_every_check_uses(tmp_path: Path) -> None:
    """The repaired model runs on it as well, not only the bare cut."""
    net = Net(17, seed=7)
    h = net.gemm(net.relu(net.gemm(net.declare("x", ["N", 6]), 12, name="a")), 3, name="z")
    net.output(net.mean(net.reshape(h, 4, -1), 0), rank=2)
    result = onnxprune.shrink(load(net.model()), tmp_path / "o.onnx", ratio=0.5)
    assert result.repair is not None and result.repair.corrected_layers
    assert result.proof is not None and result.proof.sensitive


def test_samples_are_given_one_by_one_to_a_model_that_takes_one(tmp_path: Path) -> None:
    net = Net(17, seed=8)
    h = net.reshape(net.gemm(net.declare("x", ["N", 6]), 12, name="a"), 1, 12)
    net.output(net.gemm(net.relu(h), 3, name="z"), rank=2)
    model, out = load(net.model()), tmp_path / "o.onnx"
    onnxprune.shrink(model, out, ratio=0.5)
    data = {"x": np.random.default_rng(0).standard_normal((8, 6)).astype(np.float32)}
    proof = onnxprune.verify(model, out, data=data).proof
    assert proof is not None and "samples" in proof.cases
