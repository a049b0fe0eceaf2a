"""What the commands do, as functions. Nothing here prints; progress goes to a callback, results are plain values."""

from __future__ import annotations

from pathlib import Path

from onnxprune.api.measure import environment
from onnxprune.choose.ranking import near_names
from onnxprune.errors import UsageError
from onnxprune.measure.summaries import (
    block_summaries,
    group_summary,
    layer_costs,
    operators_without_rule,
    refusal_notes,
    summary,
    summary_of,
)
from onnxprune.model.load import Model
from onnxprune.model.sources import opened
from onnxprune.report.html.command import command
from onnxprune.report.html.inspect import inspect_page
from onnxprune.report.html.write import open_report
from onnxprune.results import (
    Difference,
    GroupSummary,
    Inspection,
    ProgressCallback,
)
from onnxprune.results.clock import Clock
from onnxprune.trace import trace_model


def inspect(
    model: str | Path | Model,
    *,
    units: str = "channels",
    report: str | Path | None = None,
    force: bool = False,
    progress: ProgressCallback | None = None,
) -> Inspection:
    """What can be removed, what stays and why, and what each layer costs. `report` is an HTML file to write."""
    clock = Clock(progress)
    source = opened(model)
    page = open_report(report, force=force, inputs=source.origin)
    clock.start("trace")
    traced = trace_model(source, units=units)
    clock.finish()
    result = Inspection(
        summary(source, traced.graph, traced.facts),
        tuple(group_summary(traced, g) for g in traced.groups if g.members or g.pin is None),
        tuple(layer_costs(traced)),
        operators_without_rule(traced),
        (*source.notes, *refusal_notes(traced)),
        block_summaries(traced),
        units,
    )
    if page is not None:
        page.write(
            inspect_page(result, environment(), [command("inspect", [model], {"units": units}, {"units": "channels"})])
        )
    return result


def why(model: str | Path | Model, node: str, *, units: str = "channels") -> tuple[GroupSummary, ...]:
    """The groups that the inputs and outputs of a node carry, with the reasons of those that stay."""
    if units == "blocks":
        raise UsageError("one node is explained for channels or heads.", hint="inspect --units blocks lists all.")
    traced = trace_model(opened(model), units=units)
    found = [n for n in traced.graph.nodes if n.label == node or node in n.proto.output]
    if not found:
        raise UsageError(f"no node is called {node!r}.", hint=near_names(node, [n.label for n in traced.graph.nodes]))
    index = found[0].index
    groups = tuple(group_summary(traced, g) for g in traced.groups_at(index))
    refusal = traced.state.refusals.get(index)
    if refusal is not None and not any(g.pinned for g in groups):
        groups += (GroupSummary(found[0].label, 0, (), refusal, found[0].label),)
    return groups


def diff(a: str | Path | Model, b: str | Path | Model) -> Difference:
    """What distinguishes two models."""
    from onnxprune.measure.differences import difference

    first, second = opened(a), opened(b)
    return difference(first, second, summary_of(first, first.path), summary_of(second, second.path))
