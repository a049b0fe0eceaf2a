"""From figures to verdicts, and to words that do not hide a difference."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from onnxprune.benching.results import Comparison, Estimate
from onnxprune.checking import judge
from onnxprune.checking.budgets import Limit
from onnxprune.checking.results import CheckedModel, CheckResult
from onnxprune.checking.verdicts import FAILED, PASSED, UNDECIDED, Check
from onnxprune.checking.words import figures, sentence
from onnxprune.errors import GateError, UsageError
from onnxprune.model.integers import IntegerShare
from onnxprune.results import Agreement, ModelSummary


def model(size: int = 1000, macs: int = 500, uncounted: int = 0) -> ModelSummary:
    return ModelSummary("m.onnx", "0", size, 100, macs, uncounted, 5, 17, 8, {})


def test_costs_are_strict() -> None:
    assert judge.cost(Limit("size", 1000), model(), None).verdict == PASSED
    assert judge.cost(Limit("size", 999), model(), None).verdict == FAILED
    assert judge.cost(Limit("params", 100), model(), None).verdict == PASSED


def test_a_share_is_one_of_the_baseline() -> None:
    found = judge.cost(Limit("size", 0.5, of_baseline=True), model(500), model(1001))
    assert (found.allowed, found.share, found.verdict) == (500, 0.5, PASSED), "half a byte is none"
    assert judge.cost(Limit("size", 0.5, of_baseline=True), model(501), model(1001)).verdict == FAILED


def test_macs_that_are_not_all_counted_decide_nothing_unless_they_are_too_many_already() -> None:
    found = judge.cost(Limit("macs", 500), model(uncounted=2), None)
    assert found.verdict == UNDECIDED and found.reason is not None and "2 nodes" in found.reason
    assert judge.cost(Limit("macs", 499), model(uncounted=2), None).verdict == FAILED
    assert judge.cost(Limit("size", 1000), model(uncounted=2), None).verdict == PASSED


def test_a_share_of_integers_is_a_least_one() -> None:
    found = judge.integers(Limit("int8", 0.9), IntegerShare(10, 7, 1000, 900, 0))
    assert (found.verdict, found.measured, found.reason) == (PASSED, 0.9, "7 of 10 layers")
    missed = judge.integers(Limit("int8", 0.9), IntegerShare(10, 7, 1000, 800, 0))
    assert missed.verdict == FAILED
    assert sentence(missed) == (
        "int8 share of the MACs 80 %, allowed at least 90 %: 10 percentage points too few; 7 of 10 layers"
    )
    unknown = judge.integers(Limit("int8", 0.9), IntegerShare(10, 7, 1000, 900, 1))
    assert unknown.verdict == UNDECIDED and unknown.reason is not None and "unknown" in unknown.reason
    assert judge.integers(Limit("int8", 0.1), IntegerShare(0, 0, 0, 0, 0)).reason == "it has no layers"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.5, 0.6, PASSED),
        (0.5, 0.61, UNDECIDED),
        (0.6, 0.7, UNDECIDED),
        (0.601, 0.7, FAILED),
        (0.0, math.inf, UNDECIDED),
        (math.nan, math.nan, UNDECIDED),
    ],
)
def test_a_time_is_judged_by_its_interval(low: float, high: float, verdict: str) -> None:
    """The ratio itself may be on either side."""
    for value in (0.55, 0.65):
        ratio = Estimate(value, low, high)
        found = judge.latency(Limit("latency", 0.6), Comparison("m", "b", ratio, "faster", True, 12, 0.02))
        assert found.verdict == verdict and (found.reason is not None) == (verdict == UNDECIDED)


def test_agreement_and_metric_are_least_values() -> None:
    assert judge.agreement(Limit("agreement", 0.98), Agreement(0.98, 0.9, 1.0, 100)).verdict == PASSED
    assert judge.agreement(Limit("agreement", 0.98), Agreement(0.97, 0.9, 1.0, 100)).verdict == FAILED
    assert judge.exact("metric", 0.9, 0.91).verdict == PASSED
    assert judge.exact("error", 0.1, math.inf).verdict == FAILED
    assert judge.exact("error", 0.1, math.nan).verdict == FAILED


def test_rounding_does_not_make_a_drop_too_large() -> None:
    assert 0.98 - 0.97 > 0.01
    assert judge.drop(Limit("drop", 0.01), 0.98, 0.97).verdict == PASSED
    assert judge.drop(Limit("drop", 0.01), 0.98, 0.96).verdict == FAILED
    assert judge.drop(Limit("drop", 0.0), 0.9, 0.95).verdict == PASSED, "a gain is no drop"


def test_figures_that_differ_look_different() -> None:
    assert figures(Check("size", 1_000_000, 1_000_001, FAILED)) == ("1,000,001 B", "1,000,000 B")
    assert figures(Check("agreement", 0.98, 0.9799, FAILED))[0] == "97.99 %"
    assert figures(Check("size", 500_000, 916_123, FAILED)) == ("916 kB", "500 kB")
    assert sentence(Check("size", 500_000, 916_123, FAILED, share=0.5)) == (
        "file size 916 kB, allowed at most 500 kB (50 % of the baseline): 416 kB too much (+83.2 %)"
    )
    assert "too much" in sentence(Check("size", 0, 916_123, FAILED)), "nothing to divide by"


def test_what_cannot_be_checked_comes_before_what_is_missed() -> None:
    missed = CheckedModel("a", Path("a"), model(), None, (Check("size", 1, 2, FAILED),))
    open_ = CheckedModel("b", Path("b"), model(), None, (Check("latency", 1, 1.0, UNDECIDED, 0.9, 1.1),))
    broken = CheckedModel("gone.onnx", Path("gone.onnx"), None, None, (), UsageError("no such file", hint="look"))
    assert isinstance(CheckResult((missed, open_), False, 0.0).failure(), GateError)
    assert CheckResult((open_,), False, 0.0).failure() is None
    strict = CheckResult((open_,), True, 0.0).failure()
    assert isinstance(strict, GateError) and "--strict" in strict.message
    failure = CheckResult((missed, broken), False, 0.0).failure()
    assert isinstance(failure, UsageError) and (failure.message, failure.hint) == ("gone.onnx: no such file", "look")
    assert not CheckResult((broken,), False, 0.0).passed and CheckResult((open_,), False, 0.0).passed
