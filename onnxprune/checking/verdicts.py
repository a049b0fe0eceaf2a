"""One budget of one model: what was allowed, what was found, and the verdict."""

from __future__ import annotations

from dataclasses import dataclass

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
SIZE, PARAMS, MACS, LATENCY = "size", "params", "macs", "latency"
AGREEMENT, ERROR, METRIC, DROP = "agreement", "error", "metric", "drop"
KINDS = (SIZE, PARAMS, MACS, LATENCY, AGREEMENT, ERROR, METRIC, DROP)
COSTS = (SIZE, PARAMS, MACS)
AT_LEAST = frozenset({AGREEMENT, METRIC})
"""Budgets that are a least value; all others are a largest one."""


@dataclass(frozen=True)
class Check:
    """One budget of one model.

    `allowed` and `measured` are in the unit of the kind: size in bytes; params and macs as counts; latency as the time
    by that of the baseline; agreement as a share; error relative to the baseline's outputs; metric and drop in that of
    the user's metric. `low` and `high`: the 95 % interval, where there is one. `share`: the share of the baseline that
    was asked for instead of an amount. `reason` says why nothing could be decided, or what to know about a figure.
    """

    kind: str
    allowed: float
    measured: float
    verdict: str
    low: float | None = None
    high: float | None = None
    share: float | None = None
    reason: str | None = None
