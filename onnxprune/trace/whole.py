"""Groups that may leave whole, since every axis on which they lie keeps indices of others.

Channels that a padded shortcut adds to a residual sum, say: without them the sum is as wide as the shortcut was.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from onnxprune.trace.groups import Trace
from onnxprune.trace.ops.atoms import IntArray


def may_leave_whole(trace: Trace) -> frozenset[str]:
    """Names of groups that can all leave together: no axis loses its last index. Narrow groups first."""
    groups = sorted(trace.prunable, key=lambda group: group.size)
    number = np.full(trace.unit_count, -1, np.int64)  # unit 0 stays, and is nobody's
    for k, group in enumerate(groups):
        number[group.units] = k
    axes = {tuple(np.unique(number[labels]).tolist()) for labels in _axes(trace)}
    meets: list[list[tuple[int, ...]]] = [[] for _ in groups]
    for members in axes:
        for k in members:
            if k >= 0:
                meets[k].append(members)
    free: set[int] = set()
    for k, group in enumerate(groups):
        if group.members and all(set(members) - free - {k} for members in meets[k]):
            free.add(k)
    return frozenset(groups[k].name for k in free)


def _axes(trace: Trace) -> Iterator[IntArray]:
    """The units of every axis that may shrink: of values, of constants where they are used, of blocks of weights."""
    state = trace.state
    for axes in (*state.axes.values(), *state.uses.values()):
        yield from (trace.table[labels] for labels in axes if labels is not None and labels.size)
    for block in state.block_axes.values():
        yield from (trace.table[row] for row in block.labels)
