"""The reports of `inspect`: what can be removed, what stays and why, what layers cost."""

from __future__ import annotations

from collections import defaultdict

from onnxprune.report.blocks import Block, Column, Heading, Line, Report, Table
from onnxprune.report.quantization import sensitivity_table
from onnxprune.report.shared import model_line, names, notes, shortened
from onnxprune.results import GroupSummary, Inspection, LayerCost
from onnxprune.results.units import format_count, plural
from onnxprune.results.wording import counted, of_several

SHOWN_GROUPS = 20
_GROUPS = (Column("group", code=True), Column("channels", right=True), Column("layers", code=True))
_ALL_GROUPS = (*_GROUPS, Column("stays, because"))
_BLOCKS = (
    Column("block", code=True),
    Column("MACs", right=True),
    Column("parameters", right=True),
    Column("nodes", code=True),
    Column("stays, because"),
)
_PINNED = (Column("groups", right=True), Column("reason"), Column("for example", code=True))
_LAYERS = (
    Column("layer", code=True),
    Column("operator"),
    Column("output"),
    Column("parameters", right=True),
    Column("MACs", right=True),
    Column("group", code=True),
    Column("stays, because"),
)


def report(result: Inspection) -> Report:
    """The overview: removable groups, reasons why others stay, operators without a rule."""
    if result.units == "blocks":
        return _blocks_report(result)
    free = [group for group in result.groups if group.pinned is None]
    blocks: list[Block] = [Heading(model_line(result.model)), Line(_overview(result, free), indent=2)]
    if free:
        blocks.append(_removable(free))
        if len(free) > SHOWN_GROUPS:
            blocks.append(Line(f"... {len(free) - SHOWN_GROUPS} more (--groups)", indent=2))
    blocks.extend(_pinned(result.groups))
    blocks.extend(_without_rule(result))
    blocks.extend(_notes(result))
    blocks.append(
        Line("See more: --groups (all groups), --layers (cost per layer), --why NODE (why it stays)", indent=2)
    )
    return tuple(blocks)


def groups_report(result: Inspection) -> Report:
    """Every group, with all its layers."""
    if result.units == "blocks":
        return _blocks_report(result)
    rows = tuple(
        (group.name, _size(group), ", ".join(group.layers), _reason(group.pinned, group.pinned_by))
        for group in result.groups
    )
    return (Heading(model_line(result.model)), Table(_ALL_GROUPS, rows), *_notes(result))


def summary_lines(result: Inspection) -> tuple[Line, ...]:
    """How much can be removed, in one line; then what one should know."""
    free = [group for group in result.groups if group.pinned is None]
    text = _blocks_overview(result) if result.units == "blocks" else _overview(result, free)
    missing = [block for block in _without_rule(result) if isinstance(block, Line)]
    return (Line(text), *missing, *_notes(result))


def _blocks_overview(result: Inspection) -> str:
    free, total = result.removable, len(result.blocks)
    return f"{plural(total, 'residual block')}: {free} removable, {counted(total - free, 'stay')}"


def _blocks_report(result: Inspection) -> Report:
    """Every residual block."""
    text = _blocks_overview(result)
    rows = tuple(
        (
            block.name,
            format_count(block.macs),
            format_count(block.parameters),
            f"{names(block.nodes, 1)}",
            _reason(block.pinned, block.pinned_by),
        )
        for block in result.blocks
    )
    table = (Table(_BLOCKS, rows),) if rows else ()
    return (Heading(model_line(result.model)), Line(text, indent=2), *table, *_notes(result))


def layers_report(result: Inspection) -> Report:
    """Cost per layer."""
    rows = tuple(_layer(layer) for layer in result.layers)
    return (Heading(model_line(result.model)), Table(_LAYERS, rows), *_notes(result))


def quantization_report(result: Inspection) -> Report:
    """What integers would cost each layer, the most expensive first; then those that cannot have them."""
    found = result.quantization
    assert found is not None
    return (Heading(model_line(result.model)), Line(f"{found.words}", indent=2), sensitivity_table(found))


def why_report(node: str, groups: tuple[GroupSummary, ...]) -> Report:
    """Why the channels at one node stay, or that they can go, in sentences."""
    if not groups:
        return (
            Heading(node),
            Line("No removable index reaches this node: what it reads and writes has no channels.", indent=2),
        )
    return (Heading(node), *(Line(why_sentence(group), indent=2) for group in groups))


def why_sentence(group: GroupSummary) -> str:
    """One group in a sentence."""
    subject = f"The {plural(group.size, 'channel')} of group {group.name!r}"
    if group.pinned is None:
        text = f"{subject} can be removed"
        if group.blocks is not None:
            text += f", equally many from each of {group.blocks} blocks"
        others = tuple(layer for layer in group.layers if layer != group.name)
        return f"{text}; they leave together from {names(others, 6)}." if others else f"{text}."
    said_by = f" (at node {group.pinned_by!r})" if group.pinned_by else ""
    return f"{subject} cannot be removed: {group.pinned}{said_by}."


def _overview(result: Inspection, free: list[GroupSummary]) -> str:
    if not free:
        count = len(result.groups)
        all_of = f"all of {count} groups stay" if count != 1 else "its one group stays"
        return f"nothing can be removed: {all_of}"
    pinned = len(result.groups) - len(free)
    channels = format_count(sum(group.size for group in free))
    text = f"{plural(len(result.groups), 'group')}: {len(free)} prunable ({channels} channels)"
    return f"{text}, {counted(pinned, 'stay')}"


def _removable(free: list[GroupSummary]) -> Table:
    rows = tuple((group.name, _size(group), names(group.layers)) for group in free[:SHOWN_GROUPS])
    return Table(_GROUPS, rows)


def _size(group: GroupSummary) -> str:
    return str(group.size) if group.blocks is None else f"{group.blocks} x {group.size // group.blocks}"


def _pinned(groups: tuple[GroupSummary, ...]) -> list[Block]:
    """Groups that stay, by reason, most frequent first."""
    by_reason: dict[str, list[str]] = defaultdict(list)
    for group in groups:
        if group.pinned is not None:
            by_reason[group.pinned].append(group.name)
    if not by_reason:
        return []
    rows = tuple(
        (str(len(found)), of_several(reason, len(found)), names(tuple(found)))
        for reason, found in sorted(by_reason.items(), key=lambda item: -len(item[1]))
    )
    return [Line("stay, because:", indent=2), Table(_PINNED, rows, bare=True, indent=4)]


def _without_rule(result: Inspection) -> list[Block]:
    missing = result.operators_without_rule
    if not missing:
        return []
    listed = ", ".join(f"{name} ({count})" for name, count in missing.items())
    return [Line(f"operators without a rule (what touches them stays): {listed}", indent=2)]


def _numbered(result: Inspection) -> list[str]:
    """What the number behind the name of a group or block is, if one has a number."""
    known = {layer.node for layer in result.layers}
    for name in (*(group.name for group in result.groups), *(block.name for block in result.blocks)):
        plain, mark, number = name.rpartition("#")
        if mark and number.isdigit() and name not in known:
            what = "block, of several that end in this sum" if result.blocks else "group of the outputs of this layer"
            apart = "" if result.blocks else ", of which different things read different parts"
            return [f"{shortened(plain)}#{number}: number {number}, a {what}{apart}"]
    return []


def _notes(result: Inspection) -> tuple[Line, ...]:
    sizes = ", ".join(f"{name} = {size}" for name, size in result.model.symbols.items())
    return notes(*result.notes, *_numbered(result), *([f"MACs are for {sizes}"] if sizes else []))


def _reason(pinned: str | None, pinned_by: str | None) -> str:
    if pinned is None:
        return ""
    return f"{pinned} ({pinned_by})" if pinned_by else pinned


def _layer(layer: LayerCost) -> tuple[str, ...]:
    shape = layer.output_shape
    return (
        layer.node,
        layer.op_type,
        "?" if shape is None else " x ".join("?" if size is None else str(size) for size in shape),
        format_count(layer.parameters),
        "?" if layer.macs is None else format_count(layer.macs),
        layer.group or "",
        layer.pinned or "",
    )
