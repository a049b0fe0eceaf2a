"""Budgets and verdicts as sentences: the same in the report, in annotations and in errors."""

from __future__ import annotations

from collections.abc import Callable

from onnxprune.checking.verdicts import (
    AGREEMENT,
    AT_LEAST,
    COSTS,
    DROP,
    ERROR,
    FAILED,
    INT8,
    LATENCY,
    MACS,
    METRIC,
    PARAMS,
    SIZE,
    Check,
)
from onnxprune.results.units import format_bytes, format_count, format_macs, format_percent

TITLES = {
    SIZE: "file size",
    PARAMS: "parameters",
    MACS: "MACs",
    INT8: "int8 share of the MACs",
    LATENCY: "latency ratio",
    AGREEMENT: "agreement",
    ERROR: "output error",
    METRIC: "metric",
    DROP: "metric drop",
}


def _rounded(kind: str) -> Callable[[float], str]:
    """Three digits, as in all reports."""
    formats: dict[str, Callable[[float], str]] = {
        SIZE: lambda value: format_bytes(int(value)),
        PARAMS: lambda value: format_count(int(value)),
        MACS: lambda value: format_macs(int(value)),
        LATENCY: lambda value: f"{value:.3f}x",
        INT8: format_percent,
        AGREEMENT: format_percent,
        ERROR: format_percent,
    }
    return formats.get(kind, lambda value: f"{value:.4g}")


def _exact(kind: str) -> Callable[[float], str]:
    """All digits: where rounding would make different figures look alike."""
    if kind in COSTS:
        unit = {SIZE: " B", PARAMS: "", MACS: " MACs"}[kind]
        return lambda value: f"{value:,.0f}{unit}"
    if kind in (INT8, AGREEMENT, ERROR):
        return lambda value: f"{value * 100:.10g} %"
    return lambda value: f"{value:.10g}{'x' if kind == LATENCY else ''}"


def figures(check: Check) -> tuple[str, str]:
    """(measured, allowed) as texts that differ if the figures do."""
    rounded = _rounded(check.kind)
    measured, allowed = rounded(check.measured), rounded(check.allowed)
    if measured == allowed and check.measured != check.allowed:
        exact = _exact(check.kind)
        return exact(check.measured), exact(check.allowed)
    return measured, allowed


def bound(check: Check) -> str:
    """What is allowed, in words: "at most 500 kB (50 % of the baseline)"."""
    share = "" if check.share is None else f" ({format_percent(check.share)} of the baseline)"
    return f"at {'least' if check.kind in AT_LEAST else 'most'} {figures(check)[1]}{share}"


def found(check: Check) -> str:
    """What was measured, with its interval: "0.982x (95 % CI 0.975-0.990)"."""
    measured = figures(check)[0]
    if check.low is None or check.high is None:
        return measured
    if check.kind == LATENCY:
        return f"{measured} (95 % CI {check.low:.3f}-{check.high:.3f})"
    return f"{measured} (95 % CI {check.low * 100:.1f}-{check.high * 100:.1f} %)"


def excess(check: Check) -> str:
    """How far a failed budget is missed: "416 kB too much (+83 %)"."""
    if check.verdict != FAILED:
        return ""
    distance = abs(check.measured - check.allowed)
    if check.kind in COSTS:
        share = f" (+{format_percent(distance / check.allowed)})" if check.allowed else ""
        return f"{_rounded(check.kind)(distance)} too {'much' if check.kind == SIZE else 'many'}{share}"
    if check.kind == LATENCY:
        return "the whole interval is above it"
    if check.kind in (INT8, AGREEMENT, ERROR):
        return f"{distance * 100:.3g} percentage points too {'few' if check.kind in AT_LEAST else 'many'}"
    return f"{distance:.3g} too {'little' if check.kind == METRIC else 'much'}"


def sentence(check: Check) -> str:
    """One budget in one line: "file size 916 kB, allowed at most 500 kB: 416 kB too much (+83 %)"."""
    detail = "; ".join(text for text in (excess(check), check.reason) if text)
    ending = f": {detail}" if detail else ""
    return f"{TITLES[check.kind]} {found(check)}, allowed {bound(check)}{ending}"
