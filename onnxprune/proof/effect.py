"""Groups that have no effect: whatever reads them has zeros for weights, or nothing that an output needs reads them.
No input can tell what is wrong about them.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import IntArray
from onnxprune.trace.ops.context import Closing


def without_effect(trace: Trace, names: Collection[str]) -> set[str]:
    """The groups of these names whose indices all layers on the way to an output that read them multiply by zero."""
    groups = [group for group in trace.prunable if group.name in names]
    needed = _needed(trace) if groups else set()
    return {
        group.name
        for group, readers in zip(groups, trace.closings_of(groups), strict=True)
        if all(c.node not in needed or _multiplies_by_zero(trace, c, group.units) for c in readers)
    }


def _needed(trace: Trace) -> set[int]:
    """Nodes from which a way leads to an output; all that are in bodies."""
    graph = trace.graph
    found = {node.index for node in graph.nodes if node.scope}
    keys = {value.name for value in graph.model.proto.graph.output}
    keys.update(key for index in found for key in graph.nodes[index].inputs)
    for node in reversed(graph.nodes):
        if node.index in found or any(key in keys for key in node.outputs):
            found.add(node.index)
            keys.update(node.inputs)
    return found


def _multiplies_by_zero(trace: Trace, closing: Closing, units: IntArray) -> bool:
    """Whether the weight that an input is summed with is zero for these units."""
    if closing.kind != "sum":
        return False
    node = trace.graph.nodes[closing.node]
    for slot, key in enumerate(node.inputs):
        constant = trace.graph.constants.get(key)
        axes = trace.state.uses.get((closing.node, slot))
        if slot == closing.slot or constant is None or axes is None or constant.size == 0:
            continue
        for axis, labels in enumerate(axes):
            found = np.zeros(0, bool) if labels is None else np.isin(trace.table[labels], units)
            if found.any() and not np.compress(found, constant.array(), axis=axis).any():
                return True
    return False
