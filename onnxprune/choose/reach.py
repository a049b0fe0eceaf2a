"""Why a target cannot be met, and whose fault that is.

| what is in the way | what comes of it |
| --- | --- |
| nothing can leave at all | nothing is removed, as for a ratio, and the result says why |
| layers that stay because of what the model is made of | ModelError, with the nodes and their share of the cost |
| --min-keep, --multiple-of, patterns; a target that is too low | OutOfReach (UsageError), with what can be reached |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.allocate import widths
from onnxprune.choose.allocate.widths import keep_mask, nearest_width
from onnxprune.choose.budget import Budget, OutOfReach
from onnxprune.choose.least_error import keep_masks
from onnxprune.choose.ranking import Options, Ranking, Selection, entries_of, even_blocks, narrower, selected
from onnxprune.errors import ModelError
from onnxprune.model.cost import macs_of, uncounted
from onnxprune.model.graph import Node
from onnxprune.results.units import format_percent, plural
from onnxprune.trace.groups import Trace

OWN = ("it belongs to a graph output", "it belongs to a graph input")
"""Pins of what the model gives and takes: those stay in every network."""
FOLLOWS = "an axis that cannot shrink"  # said where the cause is elsewhere
NO_WEIGHTS = "no weights produce these indices"
SHOWN = 3  # reasons that an error names


def settled(problem: OutOfReach, trace: Trace, options: Options, budget: Budget) -> Selection:
    """A choice of nothing where nothing can leave. Raises what is to be said otherwise."""
    if trace.units_mode == "blocks":
        raise problem
    groups = trace.prunable
    if not any(group.members for group in groups):
        masks = tuple(np.ones(group.size, bool) for group in groups)
        return Selection(tuple(groups), masks, dict.fromkeys((g.name for g in groups), NO_WEIGHTS))
    held = held_back(trace, budget.kind)
    least, stay = _least(trace, options, budget), sum(share for share, _, _ in held) * budget.before
    if least <= budget.limit or least - stay > budget.limit:
        raise problem
    raise ModelError(
        f"{problem.message}, because "
        + "; ".join(_shown(one, budget.kind) for one in held[:SHOWN])
        + (" ..." if len(held) > SHOWN else "")
        + _not_counted(trace, budget.kind),
        hint=f"Raise the target. Why something stays: onnxprune inspect MODEL --why {held[0][2][0].label!r}",
    ) from problem


def held_back(trace: Trace, kind: str) -> list[tuple[float, str, list[Node]]]:
    """(share of the cost, reason, nodes) of what no choice can make smaller, the largest share first.

    A node is held if no rule understood it, or if all its channels stay, and not only because the model gives or takes
    them. The cost of a node is its constants for targets in parameters or bytes, else its multiply-accumulates.
    """
    costs = {node.index: _cost(trace, node, kind) for node in trace.graph.nodes}
    total = max(sum(costs.values()), 1)
    found: dict[str, list[Node]] = {}
    for node in trace.graph.nodes:
        reason = _reason(trace, node) if costs[node.index] else None
        if reason is not None:
            found.setdefault(reason, []).append(node)
    shares = [(sum(costs[n.index] for n in nodes) / total, reason, nodes) for reason, nodes in found.items()]
    return sorted(shares, key=lambda one: -one[0])


def _cost(trace: Trace, node: Node, kind: str) -> int:
    if kind in ("params", "size"):
        return sum(trace.graph.constants[key].size for key in node.inputs if key in trace.graph.constants)
    return macs_of(node, trace.facts) or 0


def _reason(trace: Trace, node: Node) -> str | None:
    """Why nothing of a node can leave; None if something can, or if that is what the model gives or takes."""
    refusal = trace.state.refusals.get(node.index)
    if refusal is not None:
        return refusal
    groups = trace.groups_at(node.index)
    if any(group.pin is None and group.members for group in groups):
        return None
    pins = [group.pin.reason for group in groups if group.pin is not None and not group.pin.reason.startswith(OWN)]
    refused = set(trace.state.refusals.values())
    return min(pins, key=lambda reason: (reason not in refused, FOLLOWS in reason), default=None)


def _least(trace: Trace, options: Options, budget: Budget) -> float:
    """What is left if every group keeps a single unit, whatever the options say of it."""
    return budget.cost(narrowest(trace, replace(options, min_keep=1, multiple_of=1, include=(), exclude=())))


def narrowest(trace: Trace, options: Options, *, fine: bool = False) -> NDArray[np.bool_]:
    """What stays, (unit_count,), if all groups that the options select lose as much as they may; `fine`: in steps as
    fine as it takes, where none are asked for.
    """
    ranking: Ranking | None = _alike(trace, options)
    found = np.ones(trace.unit_count, bool)
    while ranking is not None:
        found = _kept(trace, ranking, [widths(one)[-1] for one in ranking.entries])
        ranking = narrower(ranking, options) if fine else None
    return found


def at_ratio(trace: Trace, options: Options, ratio: float) -> NDArray[np.bool_]:
    """What stays, (unit_count,), if every group that the options select loses that share, or what is nearest to it; in
    finer steps where nothing else could leave, as for a choice.
    """
    ranking: Ranking | None = _alike(trace, options)
    found = np.ones(trace.unit_count, bool)
    while ranking is not None and found.all():
        wanted = [math.ceil(one.size * (1 - ratio)) for one in ranking.entries]
        found = _kept(trace, ranking, list(map(nearest_width, ranking.entries, wanted)))
        ranking = narrower(ranking, options)
    return found


def _alike(trace: Trace, options: Options) -> Ranking:
    """The groups that the options select, of which no unit is better than another."""
    stay = selected(trace, options)
    groups = [group for group in trace.prunable if group.name not in stay]
    pairs = [(group, np.zeros(group.size)) for group in groups]
    return Ranking(groups, entries_of(trace, pairs, options), {})


def _kept(trace: Trace, ranking: Ranking, kept: Sequence[int]) -> NDArray[np.bool_]:
    """What stays if the groups keep so many of their units."""
    masks = [keep_mask(one, count) for one, count in zip(ranking.entries, kept, strict=True)]
    return keep_masks(trace, ranking.groups, even_blocks(trace, ranking.groups, masks, {}))


def _not_counted(trace: Trace, kind: str) -> str:
    """That the MACs of nodes are unknown: it is not these that must stay."""
    open_ = [] if kind in ("params", "size") else uncounted(trace.graph, trace.facts)
    if not open_:
        return ""
    return (
        f"; the MACs of {plural(len(open_), 'node')} are unknown and not counted ({open_[0]!r}: samples tell its sizes)"
    )


def _shown(held: tuple[float, str, Sequence[Node]], kind: str) -> str:
    share, reason, nodes = held
    kinds = ", ".join(dict.fromkeys(node.op_type for node in nodes))
    cost = "the weights" if kind in ("params", "size") else "the MACs"
    return f"{plural(len(nodes), 'node')} with {format_percent(share)} of {cost} must stay ({kinds}: {reason})"
