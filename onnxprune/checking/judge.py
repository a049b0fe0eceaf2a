"""From figures to verdicts: pure functions. Costs, agreement, metrics are exact; a time is what its interval is."""

from __future__ import annotations

import math
from dataclasses import replace

from onnxprune.benching.results import Comparison
from onnxprune.checking.budgets import Limit
from onnxprune.checking.verdicts import AT_LEAST, FAILED, LATENCY, MACS, PARAMS, PASSED, SIZE, UNDECIDED, Check
from onnxprune.measure.gate import ROUNDING
from onnxprune.model.integers import IntegerShare
from onnxprune.results import Agreement, ModelSummary
from onnxprune.results.units import plural


def exact(kind: str, allowed: float, measured: float) -> Check:
    """A figure without noise: it is within the bound, or it is not. NaN is not."""
    within = measured >= allowed if kind in AT_LEAST else measured <= allowed
    return Check(kind, allowed, measured, PASSED if within else FAILED)


def cost(limit: Limit, model: ModelSummary, baseline: ModelSummary | None) -> Check:
    """Size, parameters, MACs. A count that leaves nodes out is a least count: below the bound it decides nothing."""
    allowed, share = limit.value, None
    if limit.of_baseline:
        assert baseline is not None
        allowed, share = float(math.floor(_cost(limit.kind, baseline) * limit.value + 1e-6)), limit.value
    found = replace(exact(limit.kind, allowed, _cost(limit.kind, model)), share=share)
    uncounted = max(model.uncounted, baseline.uncounted if baseline is not None and limit.of_baseline else 0)
    if limit.kind != MACS or not uncounted:
        return found
    reason = f"the MACs of {plural(uncounted, 'node')} are unknown, as sizes are"
    return replace(found, reason=reason, verdict=UNDECIDED if found.verdict == PASSED else found.verdict)


def integers(limit: Limit, found: IntegerShare) -> Check:
    """The share of the multiply-accumulates in 8 bits. Layers of unknown sizes may tip it to either side."""
    check = exact(limit.kind, limit.value, found.share)
    reason = f"{found.integers} of {plural(found.layers, 'layer')}" if found.layers else "it has no layers"
    if not found.uncounted:
        return replace(check, reason=reason)
    reason += f"; the MACs of {plural(found.uncounted, 'node')} are unknown, as sizes are"
    return replace(check, reason=reason, verdict=UNDECIDED)


def latency(limit: Limit, found: Comparison) -> Check:
    """Failed if the whole interval of the ratio is above the bound, undecided if only a part of it is."""
    low, high = found.ratio.low, found.ratio.high
    verdict = FAILED if low > limit.value else PASSED if high <= limit.value else UNDECIDED
    reason = None
    if verdict == UNDECIDED:
        reason = "whether that is within the bound is lost in the noise: measure longer (--seconds)"
    return Check(LATENCY, limit.value, found.ratio.value, verdict, low, high, reason=reason)


def agreement(limit: Limit, found: Agreement) -> Check:
    """The share on the samples at hand is what counts; the interval says what other samples might give."""
    return replace(exact(limit.kind, limit.value, found.share), low=found.low, high=found.high)


def drop(limit: Limit, before: float, after: float) -> Check:
    """What the metric loses against the baseline; rounding does not make it miss the bound."""
    lost = before - after
    if abs(lost - limit.value) <= ROUNDING * max(abs(before), abs(after)):
        lost = limit.value
    return exact(limit.kind, limit.value, lost)


def _cost(kind: str, model: ModelSummary) -> float:
    return float({SIZE: model.size_bytes, PARAMS: model.parameters, MACS: model.macs}[kind])
