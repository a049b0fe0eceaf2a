"""What comes behind a decision is compared as well: with the decisions of one network in both."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxprune.cut import cut
from onnxprune.model.load import load
from onnxprune.proof.decisions import DECIDED, at_random, given, inputs_for
from onnxprune.proof.discontinuous import jumps
from onnxprune.proof.judge import Differs
from onnxprune.trace.reference import build_reference
from tests.hostile.support import run
from tests.proof.networks import halved, proof_of, second_stage, two_outputs


def test_a_wrong_layer_behind_a_decision_is_found(tmp_path: Path) -> None:
    assert proof_of(second_stage(), tmp_path).sensitive
    with pytest.raises(Differs, match="output"):
        proof_of(second_stage(), tmp_path, {"z_w": lambda value: value * np.float32(1.01)})


def test_a_wrong_threshold_is_found(tmp_path: Path) -> None:
    """The operator that decides is run, on the same values: it must decide the same."""
    with pytest.raises(Exception, match=r"output .* is float32 \(\d"):
        proof_of(second_stage(), tmp_path, {"limit": lambda value: value + np.float32(0.4)})


def test_where_no_row_passes_decisions_are_made_up(tmp_path: Path) -> None:
    proof = proof_of(second_stage(threshold=20.0), tmp_path)
    assert proof.sensitive and any(DECIDED in case for case in proof.cases)
    with pytest.raises(Differs):
        proof_of(second_stage(threshold=20.0), tmp_path, {"hidden_w": lambda value: value * np.float32(1.01)})


def test_an_output_without_rows_is_compared_where_there_are_some(tmp_path: Path) -> None:
    """Though every part of the plan shows in the other output."""
    proof = proof_of(two_outputs(), tmp_path)
    assert proof.sensitive and not proof.empty
    with pytest.raises(Differs):
        proof_of(two_outputs(), tmp_path, {"z_w": lambda value: value * np.float32(1.01)})


def test_an_output_that_stays_without_rows_is_named(tmp_path: Path) -> None:
    proof = proof_of(two_outputs(threshold=1e9), tmp_path)
    assert proof.empty and any("was empty on every input" in note for note in proof.notes)


def test_both_networks_decide_alike_on_the_same_values() -> None:
    trace, keep = halved(second_stage())
    decided = jumps(trace).decided
    assert [list(slots) for slots in decided.values()] == [[0]]
    reference, smaller = build_reference(trace), cut(trace, keep)
    x = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    (key,) = (key for slots in decided.values() for key in slots.values())
    fed = inputs_for(decided, {key: np.linspace(-1, 1, 40, dtype=np.float32)})
    for values in (fed, *at_random(fed, 0)):
        a = run(given(reference.model, decided, trace.facts), {"x": x, **reference.feed(keep), **values})[0]
        b = run(given(load(smaller.complete_proto()), decided, trace.facts), {"x": x, **values})[0]
        assert a.shape == b.shape and len(a)
        np.testing.assert_allclose(a, b, atol=1e-5)
