"""One budget of one model: what was allowed, what was found, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
SIZE, PARAMS, MACS, INT8, LATENCY = "size", "params", "macs", "int8", "latency"
AGREEMENT, ERROR, METRIC, DROP = "agreement", "error", "metric", "drop"
KINDS = (SIZE, PARAMS, MACS, INT8, LATENCY, AGREEMENT, ERROR, METRIC, DROP)
COSTS = (SIZE, PARAMS, MACS)
AT_LEAST = frozenset({INT8, AGREEMENT, METRIC})
"""Budgets that are a least value; all others are a largest one."""


@dataclass(frozen=True, repr=False)
class Check(OneLine):
    """One budget of one model. `allowed` and `measured` are in the unit of the kind: size in bytes; params and macs as
    counts; int8 as a share of the multiply-accumulates; latency as the time by that of the baseline; agreement as a
    share; error relative to the baseline's outputs; metric and drop in that of the user's metric.

    Attributes:
        kind: One of KINDS.
        allowed: The most; of int8, agreement and metric the least.
        measured: What was found.
        verdict: "passed", "failed" or "undecided".
        low: Lower end of the 95 % interval; None of what is exact.
        high: Upper end; None of what is exact.
        share: The share of the baseline that was asked for; None if an amount was.
        reason: Why nothing could be decided, or what to know about a figure; None if there is nothing to say.
    """

    kind: str
    allowed: float
    measured: float
    verdict: str
    low: float | None = None
    high: float | None = None
    share: float | None = None
    reason: str | None = None
