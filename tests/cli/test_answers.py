"""What the last line says of the answers, by what was measured."""

from __future__ import annotations

from typing import Any

import pytest

from onnxprune.cut.plan import Plan
from onnxprune.report.answers import measured, state, warning
from onnxprune.results import (
    Agreement,
    CalibrationSummary,
    Fidelity,
    MetricSummary,
    ModelSummary,
    OutputFidelity,
    ShrinkResult,
)

MODEL = ModelSummary("m.onnx", "0", 10, 10, 10, 0, 1, 17, 8, {})
GIVEN = CalibrationSummary("a.npz", 100, 20, 0, None)


def result(**more: Any) -> ShrinkResult:
    return ShrinkResult(MODEL, MODEL, Plan("0", ()), (), 0.5, 0.5, None, None, (), {}, **more)


def told(error: float | None, agreement: Agreement | None) -> dict[str, Any]:
    output = OutputFidelity("y", error, error, None, agreement, None if agreement else "one number", 80)
    return {"fidelity": Fidelity(100, (output,)), "calibration": GIVEN}


@pytest.mark.parametrize(
    ("error", "agreement", "known", "words"),
    [
        (0.05, Agreement(0.99, 0.97, 0.999, 200), "kept", None),
        (0.05, Agreement(0.80, 0.74, 0.85, 200), "changed", "on 20 % of the samples they are others"),
        (0.05, Agreement(0.94, 0.90, 0.97, 200), "changed", "seem to have changed"),
        (0.05, Agreement(1.0, 0.84, 1.0, 20), "unclear", "20 held-out samples say little"),
        (0.40, Agreement(0.99, 0.97, 0.999, 200), "kept", "if more counts than the top class"),
        (0.05, None, "kept", None),
        (0.15, None, "changed", "the answers changed: remove less"),
        (0.30, None, "changed", "with 30 % a detector had lost half of its mAP"),
    ],
)
def test_with_samples(error: float, agreement: Agreement | None, known: str, words: str | None) -> None:
    found = result(**told(error, agreement))
    assert state(found) == known
    said = warning(found, 0.5)
    assert said is None if words is None else words in (said or "")
    assert ("agreement" if agreement else "output error") in (measured(found) or "")


@pytest.mark.parametrize(
    ("gone", "words"), [(0.05, "unknown:"), (0.2, "likely harm:"), (0.25, "likely ruinous at this")]
)
def test_without_samples(gone: float, words: str) -> None:
    assert state(result()) == "unknown" and measured(result()) is None
    assert words in (warning(result(), gone) or "") and "(--data)" in (warning(result(), gone) or "")


def test_a_metric_says_it() -> None:
    found = result(metric=MetricSummary("accuracy", 0.91, 0.87, None))
    assert measured(found) == "accuracy 0.91 -> 0.87" and warning(found, 0.5) is None and state(found) == "unclear"
    both = result(metric=MetricSummary("accuracy", 0.91, 0.87, None), **told(0.3, None))
    assert measured(both) == "accuracy 0.91 -> 0.87, output error 30 %" and warning(both, 0.5) is None
