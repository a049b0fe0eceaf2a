"""The page of `inspect`: what can be removed, what stays and why, where the cost is."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.report.html import charts, groups
from onnxprune.report.html.heads import inspect_head
from onnxprune.report.html.page import Section, blocks, figures, folded, page, paragraph, table
from onnxprune.report.html.parts import together
from onnxprune.report.html.reproduce import reproduce
from onnxprune.report.inspect import layers_report, summary_lines
from onnxprune.report.quantization import sensitivity_table
from onnxprune.results import Inspection
from onnxprune.results.system import Environment
from onnxprune.results.units import plural


def inspect_page(result: Inspection, machine: Environment, commands: Sequence[str]) -> str:
    """The whole document."""
    head = inspect_head(result)
    sections = [_groups(result), _layers(result), _sensitivities(result), _notes(result)]
    sections.append(reproduce(commands, machine, result.model))
    return page(head.title, head.lead, sections)


def _groups(result: Inspection) -> Section | None:
    if result.units == "blocks":
        title, found = "Blocks", [groups.of_block(b, False, _why(b.pinned, b.pinned_by)) for b in result.blocks]
    else:
        title, found = "Groups", [groups.of_group(group) for group in result.groups]
    if not found:
        return None
    return Section("groups", title, together(len(found), title) + groups.bars(found, planned=False))


def _why(reason: str | None, node: str | None) -> str | None:
    return f"{reason} (at {node})" if reason and node else reason


def _layers(result: Inspection) -> Section | None:
    if not result.layers:
        return None
    costs = charts.layer_costs(result.layers)
    body = (figures(costs) if costs else "") + folded(
        f"{plural(len(result.layers), 'layer')} in numbers", blocks(layers_report(result)[1:])
    )
    return Section("layers", "Layers", body)


def _sensitivities(result: Inspection) -> Section | None:
    found = result.quantization
    if found is None:
        return None
    body = paragraph(f"{found.words} ({plural(found.samples, 'sample')}).")
    body += folded(f"{plural(len(found.layers), 'layer')} in numbers", table(sensitivity_table(found)))
    return Section("integers", "Integers", body)


def _notes(result: Inspection) -> Section | None:
    lines = summary_lines(result)[1:]
    return Section("notes", "Notes", blocks(lines)) if lines else None
