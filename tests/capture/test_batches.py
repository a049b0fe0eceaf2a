"""Fewer samples where walking all of them would take long."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from onnxprune.capture.batches import LEAST_WALKED, WALKED, affordable, sample_count
from onnxprune.model.load import load

DIGITS = load(Path(__file__).parents[2] / "models" / "digits.onnx")
INPUT = DIGITS.proto.graph.input[0].name


def _batches(*sizes: int) -> list[dict[str, np.ndarray]]:
    return [{INPUT: np.zeros((size, 1, 1, 1), np.float32)} for size in sizes]


def test_a_small_network_is_walked_over_all() -> None:
    batches = _batches(200, 200, 50)
    assert sample_count(affordable(DIGITS, WALKED // 400, batches, 1)) == 450


def test_a_large_one_is_walked_over_fewer_and_all_that_judge() -> None:
    batches = _batches(200, 200, 50, 60)
    found = affordable(DIGITS, WALKED // 250, batches, 2)
    assert [sample_count([batch]) for batch in found] == [200, 50, 50, 60]
    assert sample_count(affordable(DIGITS, WALKED, batches, 2)) == LEAST_WALKED + 110


def test_without_held_out_samples_nothing_is_left_out() -> None:
    batches = _batches(300, 300)
    assert affordable(DIGITS, WALKED, batches, 0) is batches
