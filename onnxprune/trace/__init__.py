"""Tracing: which indices live and die together."""

from __future__ import annotations

from onnxprune.errors import UsageError
from onnxprune.model.graph import build as build_graph
from onnxprune.model.infer import infer
from onnxprune.model.load import Model
from onnxprune.trace.groups import Group, Pin, Trace, build
from onnxprune.trace.tracer import run

UNITS = ("channels", "heads")

__all__ = ["UNITS", "Group", "Pin", "Trace", "trace_model"]


def trace_model(model: Model, *, units: str = "channels") -> Trace:
    """Trace a model. Where an axis is split, `units` says what goes: `channels` (positions in heads) or `heads`."""
    if units not in UNITS:
        raise UsageError(f"--units is channels or heads, found {units!r}")
    graph = build_graph(model)
    trace = build(run(graph, infer(graph), prefer_outer=units == "heads"))
    trace.units_mode = units
    return trace
