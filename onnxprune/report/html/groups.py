"""Every group as a bar: what was kept, what was removed, what stays and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.report.html.page import escaped, folded, legend
from onnxprune.report.shared import names, shortened
from onnxprune.results import BlockChange, BlockSummary, GroupChange, GroupSummary
from onnxprune.results.units import format_count, plural

SHOWN = 40  # bars that are not folded away


@dataclass(frozen=True)
class Bar:
    """`size` units, of which `removed` left; `reason` says why not more. `text`: the figures, with their unit."""

    name: str
    size: int
    removed: int
    fixed: bool
    text: str
    reason: str | None
    layers: tuple[str, ...] = ()


def of_change(group: GroupChange) -> Bar:
    kept = group.size - group.removed
    text = f"{kept} of {plural(group.size, 'channel')} kept" if group.removed else plural(group.size, "channel")
    fixed = group.reason is not None and not group.removed
    return Bar(group.name, group.size, group.removed, fixed, text, group.reason, group.layers)


def of_group(group: GroupSummary) -> Bar:
    reason = group.pinned
    if reason is not None and group.pinned_by:
        reason = f"{reason} (at {group.pinned_by})"
    blocks = "" if group.blocks is None else f", in {group.blocks} blocks"
    text = f"{plural(group.size, 'channel')}{blocks}"
    return Bar(group.name, group.size, 0, group.pinned is not None, text, reason, group.layers)


def of_block(block: BlockSummary, removed: bool, reason: str | None) -> Bar:
    text = f"{format_count(block.macs)} MACs, {format_count(block.parameters)} parameters"
    fixed = reason is not None and not removed
    return Bar(block.name, 1, int(removed), fixed, f"{text}{', removed' if removed else ''}", reason, block.nodes)


def of_block_change(found: BlockChange) -> Bar:
    return of_block(found.block, found.removed, found.reason)


def bars(found: Sequence[Bar], *, planned: bool) -> str:
    """All bars; those that can shrink first, in the order of the graph, long lists folded. Not `planned`: as long as
    they have channels.
    """
    free, fixed = [b for b in found if not b.fixed], [b for b in found if b.fixed]
    if planned:
        colours = legend((("kept", "kept"), ("removed", "removed"), ("pinned", "stays, with the reason")))
    else:
        colours = legend((("kept", "can be removed"), ("pinned", "stays, with the reason")))
    title = "more that lose channels" if planned else "more that can shrink"
    widest = 0 if planned else max((bar.size for bar in found), default=0)
    return colours + _list(free, title, widest) + _list(fixed, "more that stay", widest)


def _list(found: Sequence[Bar], title: str, widest: int) -> str:
    shown, rest = _items(found[:SHOWN], widest), _items(found[SHOWN:], widest)
    return shown + (folded(f"{len(found) - SHOWN} {title}", rest) if rest else "")


def _items(found: Sequence[Bar], widest: int) -> str:
    return f'<ul class="groups">{"".join(_item(bar, widest) for bar in found)}</ul>' if found else ""


def _item(bar: Bar, widest: int) -> str:
    """A bar of full width for its own size, or with `widest` as long as its share of that."""
    gone = bar.removed / max(bar.size, 1) * 100
    whole = bar.size / widest * 100 if widest else 100.0
    ink = "pinned" if bar.fixed else "kept"
    label = "stays" if bar.fixed else f"{100 - gone:.0f} % kept, {gone:.0f} % removed"
    parts = [f'<i style="width:{whole - gone:.2f}%;background:var(--{ink})"></i>']
    if bar.removed:
        parts.append(f'<i style="width:{gone:.2f}%;background:var(--removed)"></i>')
    others = tuple(layer for layer in bar.layers if layer != bar.name)
    why = [bar.reason] if bar.reason else []
    why += [f"with {names(others, 4)}"] if others else []
    return (
        f'<li><span class="of">{escaped(bar.text)}</span><b>{escaped(shortened(bar.name, 160))}</b>'
        f'<div class="bar" role="img" aria-label="{escaped(label)}">{"".join(parts)}</div>'
        + (f'<div class="why">{escaped("; ".join(why))}</div>' if why else "")
        + "</li>"
    )
