"""How much work fits into a time."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import onnxprune
from onnxprune.capture.samples import open_samples
from onnxprune.repair.pace import Pace, pace_of
from onnxprune.trace import trace_model

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"


def test_an_effort_has_two_digits_and_never_takes_longer() -> None:
    for seconds in (0.013, 1.0, 7.7, 3600.0):
        for step in (1e-3, 0.0171, 1.9):
            found = Pace(step, 300).effort(seconds)
            assert float(f"{found:.2g}") == found
            assert found == 0.05 or seconds / 1.1 <= found * step * 300 <= seconds * (1 + 1e-6), (seconds, step, found)


def test_the_pace_of_a_network_is_that_of_its_usual_steps() -> None:
    trace = trace_model(onnxprune.load(DIGITS))
    data = np.random.default_rng(0).uniform(size=(60, 1, 8, 8)).astype(np.float32)
    before = trace.graph.model.tensors["stem.conv.weight"].array().copy()
    found = pace_of(trace, open_samples({"image": data}, trace), threads=1)
    assert found is not None and found.steps >= 40 and found.seconds > 0
    assert (trace.graph.model.tensors["stem.conv.weight"].array() == before).all()
    few = pace_of(trace, open_samples({"image": data[:3]}, trace), threads=1)
    assert few is None, "the samples are too few"
