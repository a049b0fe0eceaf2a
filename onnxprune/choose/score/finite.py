"""Weights that hold NaN or infinity, found before channels are chosen by them or for what reads them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from onnxprune.errors import ModelError
from onnxprune.model.finite import damage
from onnxprune.trace.groups import Group, Trace


def require_finite(trace: Trace, groups: Sequence[Group]) -> None:
    """Raises ModelError for a weight that produces or reads units of `groups`: without some of them the network would
    give numbers where the original gives none.
    """
    owner = np.full(trace.unit_count, -1, np.int64)
    for number, group in enumerate(groups):
        owner[group.units] = number
    touched: dict[int, set[int]] = {}
    places = [(member.node, member.labels) for group in groups for member in group.members]
    for index, labels in (*places, *((closing.node, closing.labels) for closing in trace.closings)):
        touched.setdefault(index, set()).update(np.unique(owner[labels]).tolist())
    for node, found in damage(trace.graph, (trace.graph.nodes[index] for index in sorted(touched))):
        touching = [groups[number] for number in sorted(touched[node.index] - {-1})]
        if touching:
            options = " ".join(f"--exclude {_first(trace, group)!r}" for group in touching)
            hint = f"Export the model again, or leave the channels that it reads or gives as they are: {options}."
            raise ModelError(str(found), hint=hint)


def _first(trace: Trace, group: Group) -> str:
    """What `--exclude` takes for a group."""
    return trace.graph.nodes[group.members[0].node].label if group.members else group.name
