"""Whether a result is faster, and if not, why and what to do: the short timing of a run in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from onnxprune.benching.causes import KERNEL, LAYOUT, ROUNDED, SMALL, SPARSE, UNCUT, WEIGHTLESS
from onnxprune.benching.results import FASTER, SLOWER, UNDECIDED
from onnxprune.report.shared import shortened
from onnxprune.results import Cause, TimingSummary
from onnxprune.results.units import format_latency, plural

LEAST_SHARE = 0.1  # of the time: less explains nothing
MOST = 2  # causes that are named


def speed_text(found: TimingSummary) -> str:
    """ "1.27x faster (95 % CI 1.24-1.30, 2 threads)"."""
    threads = plural(found.threads, "thread")
    if found.verdict == UNDECIDED or not math.isfinite(found.high):
        return f"faster or slower cannot be told here (95 % CI {found.low:.2g}-{found.high:.2g} times, {threads})"
    digits = 3 if 0.9 < found.speedup < 1.1 else 2 if found.speedup < 10 else 1
    value, low, high = (f"{x:.{digits}f}" for x in (found.speedup, found.low, found.high))
    how = f"95 % CI {low}-{high}, {threads}"
    if found.verdict == FASTER:
        return f"{value}x faster ({how})"
    if found.verdict == SLOWER:
        return f"but slower: {value}x the speed ({how})"
    return f"but no faster: {value}x the speed ({how})"


def why_not(found: TimingSummary, options: Mapping[str, Any]) -> str | None:
    """The main causes, and what to do about them; None where it is faster, or where nothing is known.

    `options` are those of the plan.
    """
    if found.verdict == UNDECIDED:
        return "measure longer, or on a machine with less to do: onnxprune bench"
    large = [cause for cause in found.causes if cause.share >= LEAST_SHARE and cause.kind != SMALL]
    small = [cause for cause in found.causes if cause.kind == SMALL]
    named = [*large[: MOST - len(small)], *small]
    if found.verdict == FASTER or not named:
        return None
    parts = [_cause_text(cause, found, first=cause is named[0]) for cause in named]
    return f"{', '.join(parts)}: {_advice(named, options)}"


def _cause_text(cause: Cause, found: TimingSummary, *, first: bool) -> str:
    if cause.kind == SMALL:
        return f"a run takes {format_latency(found.after_s)} in {plural(cause.count, 'kernel')}, little to save"
    if cause.kind == LAYOUT:
        what = "conversions between layouts"
    elif cause.kind == ROUNDED:
        step = f"multiples of {cause.step}" if cause.step else "whole blocks"
        what = f"{plural(cause.count, 'layer')} whose kernels round their widths up to {step}"
    elif cause.kind == SPARSE:
        what = f"{plural(cause.count, 'layer')} whose zeros save less than their operators cost"
    else:
        noun = "operator" if cause.kind == WEIGHTLESS else "layer"
        what = f"{plural(cause.count, noun)} {_OTHERS[cause.kind]} (the longest: {shortened(cause.layers[0])})"
    return f"{cause.share * 100:.0f} % {'of its time is in' if first else 'in'} {what}"


_OTHERS = {
    UNCUT: "that kept all weights",
    WEIGHTLESS: "without weights",
    KERNEL: "that lost weights and take as long",
}


def _advice(causes: Sequence[Cause], options: Mapping[str, Any]) -> str:
    kinds = [cause.kind for cause in causes]
    if "sparsity" in options:
        return "--pattern auto leaves dense what is no faster sparse"
    multiple = options.get("multiple_of")  # None: what the kernels of the processor like
    step = next((cause.step for cause in causes if cause.kind == ROUNDED and cause.step), 16)
    if {ROUNDED, LAYOUT, KERNEL} & set(kinds) and isinstance(multiple, int) and multiple % step:
        return f"leave out --multiple-of {multiple}, or ask for time itself (--target latency=...)"
    if SMALL in kinds:
        return "larger batches or inputs may gain (onnxprune bench --batch)"
    if kinds[0] == UNCUT:
        return "onnxprune inspect --why says why they stay; or ask for time itself (--target latency=...)"
    if KERNEL in kinds or WEIGHTLESS in kinds:
        return "ask for time itself (--target latency=...); onnxprune bench --profile has every layer"
    return "ask for time itself (--target latency=...)"
