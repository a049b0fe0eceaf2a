"""What a cut did to the answers of a network, by what was measured; or what is likely, if nothing was.

The limits are experience (docs/accuracy.md, docs/sparsity-accuracy.md). Without samples, ResNet-20 keeps 35 of 92 % at
three quarters of its MACs, MobileNetV2 and YOLOX-nano nothing; with the smallest half of the weights gone in blocks,
ResNet-20 keeps 45 %, a keyword spotter 10 of 90 %. With samples, YOLOX-nano lost half of its mAP at 30 % output error.
"""

from __future__ import annotations

from onnxprune.results import Fidelity, MetricSummary, QuantizeResult, ShrinkResult, SparsifyResult
from onnxprune.results.sparse import SparsitySummary
from onnxprune.results.units import format_percent, plural

HARMFUL, RUINOUS = 0.1, 0.25  # shares of the work or of the weights that left without samples
LEAST_AGREEMENT = 0.95
CHANGED_ERROR, FAR_ERROR = 0.1, 0.25
FEW = 60  # samples of which all must agree for an interval above 94 %
KEPT, CHANGED, UNCLEAR, UNKNOWN = "kept", "changed", "unclear", "unknown"

Result = ShrinkResult | SparsifyResult | QuantizeResult


def sparsity_of(result: Result) -> SparsitySummary | None:
    """What became of weights that were to be zero; None if none were."""
    return None if isinstance(result, QuantizeResult) else result.sparsity


def state(result: Result) -> str:
    """What is known of the answers: kept, changed, unclear (the interval holds the limit), or unknown."""
    found = result.fidelity
    if found is None:
        return UNCLEAR if _metric(result) is not None else UNKNOWN
    worst, error = found.worst_agreement, found.worst_error
    if worst is not None:
        return KEPT if worst.low >= LEAST_AGREEMENT else CHANGED if worst.share < LEAST_AGREEMENT else UNCLEAR
    return UNKNOWN if error is None else CHANGED if error > CHANGED_ERROR else KEPT


def measured(result: Result) -> str | None:
    """The figures, in a few words: "agreement 99 % (95 % CI 97.2-99.9)"; None if there are none."""
    parts = []
    metric = _metric(result)
    if metric is not None:
        parts.append(f"{metric.name} {metric.before:.4g} -> {metric.after:.4g}")
    found = result.fidelity
    worst = None if found is None else found.worst_agreement
    if worst is not None:
        interval = f"95 % CI {worst.low * 100:.1f}-{worst.high * 100:.1f}"
        parts.append(f"agreement {format_percent(worst.share)} ({interval})")
    elif found is not None and found.worst_error is not None:
        parts.append(f"output error {format_percent(found.worst_error)}")
    return ", ".join(parts) or None


def warning(result: Result, gone: float) -> str | None:
    """What to know and to do, in one sentence, if a share `gone` of the work or of the weights left."""
    noise = result.calibration is not None and result.calibration.source.startswith("random")
    if noise and _metric(result) is None:
        return "measured on noise, which says little of real inputs: give samples (--data)"
    if result.fidelity is not None:
        return _of_fidelity(result.fidelity, result)
    if _metric(result) is not None:
        return None
    if result.calibration is not None:
        return "what this does to the answers is measured once it is written"
    likely = ", likely ruinous at this ratio" if gone >= RUINOUS else ", likely harm" if gone >= HARMFUL else ""
    return f"what this does to the answers is unknown{likely}: give samples of the inputs (--data)"


def _of_fidelity(found: Fidelity, result: Result) -> str | None:
    worst, error = found.worst_agreement, found.worst_error
    known = _metric(result) is not None
    advice = "remove less, or give more samples" + ("" if known else "; --metric says what it costs")
    if worst is not None and worst.high < LEAST_AGREEMENT:
        return f"the answers changed: on {format_percent(1 - worst.share)} of the samples they are others; {advice}"
    if worst is not None and worst.share < LEAST_AGREEMENT:
        return f"the answers seem to have changed: {advice}"
    if worst is not None and worst.low < LEAST_AGREEMENT and worst.samples < FEW:
        return f"{plural(worst.samples, 'held-out sample')} say little: give more"
    if error is None or known:
        return None
    if worst is not None:
        text = f"output error {format_percent(error)}: if more counts than the top class, measure it (--metric)"
        return text if error > FAR_ERROR else None
    if error > FAR_ERROR:
        return f"the answers changed: with 30 % a detector had lost half of its mAP; {advice}"
    return f"the answers changed: {advice}" if error > CHANGED_ERROR else None


def _metric(result: Result) -> MetricSummary | None:
    """The metric of the user, if it was measured on the result."""
    found = None if isinstance(result, SparsifyResult) else result.metric
    return found if found is not None and found.after is not None else None
