"""The functions of the API that look at one model: `inspect` and `why`. Nothing here prints."""

from __future__ import annotations

from pathlib import Path

from threadpoolctl import threadpool_limits

from onnxprune.api.environment import environment
from onnxprune.api.public import public
from onnxprune.capture.samples import open_samples, traced_for
from onnxprune.choose.ranking import near_names
from onnxprune.choose.request import GIVE_DATA, check_data_options
from onnxprune.errors import UsageError
from onnxprune.measure.summaries import (
    block_summaries,
    group_summary,
    layer_costs,
    operators_without_rule,
    refusal_notes,
    stranger_notes,
    summary,
)
from onnxprune.model.finite import blaming
from onnxprune.model.load import Model
from onnxprune.model.sources import opened
from onnxprune.options.others import InspectOptions, WhyOptions
from onnxprune.quantizing.inspected import inspected
from onnxprune.report.html.command import command
from onnxprune.report.html.inspect import inspect_page
from onnxprune.report.html.write import open_report
from onnxprune.results import GroupSummary, Inspection, Sensitivities
from onnxprune.results.clock import Clock
from onnxprune.trace import trace_model


@public(InspectOptions)
def inspect(options: InspectOptions, model: str | Path | Model) -> Inspection:
    """What can be removed, what stays and why, and what each layer costs.

    Args:
        model: A path, or a model in memory.

    Returns:
        All groups (or blocks) with the reasons of those that stay, and all layers with their cost.

    Raises:
        UsageError: There is no such file, or no such units; `data` is missing, or has no effect.
        ModelError: It is no valid model.
        DataError: `data` does not fit the model.
        OutputError: The report cannot be written.
    """
    clock, units = Clock(options.told), options.units
    _check(options)
    source = opened(model).inlined()
    page = open_report(options.report, force=options.force, inputs=source.origin)
    clock.start("trace")
    traced = trace_model(source, units=units)
    found = _sensitivities(options, source, clock) if options.quantization else None
    clock.finish()
    result = Inspection(
        summary(source, traced.graph, traced.facts),
        tuple(group_summary(traced, g) for g in traced.groups if g.members or g.pin is None),
        tuple(layer_costs(traced)),
        operators_without_rule(traced),
        (*source.notes, *stranger_notes(source), *refusal_notes(traced)),
        block_summaries(traced),
        units,
        found,
    )
    if page is not None:
        page.write(inspect_page(result, environment(), [command(options, [model])]))
    return result


def _check(options: InspectOptions) -> None:
    """Raises UsageError for samples that nobody needs, or that are missing."""
    check_data_options(options)
    if options.quantization and options.data is None:
        raise UsageError("--quantization measures errors on samples, and there are none.", hint=f"{GIVE_DATA}.")
    if options.data is not None and not options.quantization:
        raise UsageError("--data has no effect without --quantization.", hint="Leave it out, or add --quantization.")


def _sensitivities(options: InspectOptions, source: Model, clock: Clock) -> Sensitivities:
    """What integers would cost each layer."""
    given = options.data, options.preprocess, options.samples, options.seed
    with threadpool_limits(1, "blas"), blaming(source):
        traced, data = traced_for(source, *given)
        clock.start("capture")
        samples = open_samples(data, traced, seed=options.seed)
        return inspected(traced, samples, clock, threads=options.threads)


@public(WhyOptions)
def why(options: WhyOptions, model: str | Path | Model, node: str) -> tuple[GroupSummary, ...]:
    """Why the channels at a node stay, or that they can leave.

    Args:
        model: A path, or a model in memory.
        node: Its name, or that of one of its outputs.

    Returns:
        The groups that the inputs and outputs of the node carry, with the reasons of those that stay.

    Raises:
        UsageError: There is no such file or node; or `units` is "blocks".
        ModelError: It is no valid model.
    """
    units = options.units
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
