"""Tracing: which indices live and die together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from onnxprune.errors import UsageError
from onnxprune.model.graph import build as build_graph
from onnxprune.model.infer import infer
from onnxprune.model.load import Model
from onnxprune.trace.branches import find_branches
from onnxprune.trace.groups import Group, Pin, Trace, build
from onnxprune.trace.tracer import run

UNITS = ("channels", "heads", "blocks", "all")

__all__ = ["UNITS", "Group", "Pin", "Trace", "trace_again", "trace_model"]


def trace_model(model: Model, *, units: str = "channels", sizes: Mapping[str, int] | None = None) -> Trace:
    """Trace a model, for `sizes` of what its inputs leave open (see model/sizes.py).

    `units` says what may leave: `channels`, `heads` (where an axis is split, the part outside, not positions in every
    part), `blocks`: whole residual branches, and then every index stays; or `all`: channels and blocks.
    """
    if units not in UNITS:
        raise UsageError(f"--units is {', '.join(UNITS[:-1])} or {UNITS[-1]}, found {units!r}")
    graph = build_graph(model.inlined())
    facts = infer(graph, sizes, fit=True)
    trace = build(run(graph, facts, prefer_outer=units == "heads"))
    trace.units_mode = units
    if units == "blocks":
        return _with_branches(replace(trace, groups=[], unit_count=1, table=np.zeros_like(trace.table)))
    return _with_branches(trace) if units == "all" else trace


def trace_again(model: Model, trace: Trace) -> Trace:
    """Trace what was made of a traced model, for the same sizes."""
    again = trace_model(model, units=trace.units_mode, sizes=trace.facts.symbols)
    again.facts.measured = trace.facts.measured
    return again


def _with_branches(trace: Trace) -> Trace:
    """The trace in which every removable branch is a unit as well."""
    branches = find_branches(trace.graph, trace.facts)
    count = trace.unit_count + sum(branch.pin is None for branch in branches)
    return replace(trace, unit_count=count, branches=branches)
