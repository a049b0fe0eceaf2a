"""Values inside of a network, for what its outputs show nothing of.

A wrong channel in the first layers of a deep network may move the outputs by less than rounding does. What the layers
compute that read it moves at once. So the network is compared from value to value, as far as there are any at the top
level, and a wrong plan is told apart by what reads the channels that it is wrong about.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.tensors import FLOATS
from onnxprune.proof.wrong import named_branches, named_groups
from onnxprune.trace.groups import Trace

Usable = Callable[[str], bool]
MOST_ELEMENTS = 5e7  # of all values that are compared on all inputs together
NEAR = 3  # readers of a group that are looked at


def readers_of(trace: Trace, keep: NDArray[np.bool_], names: Collection[str], usable: Usable) -> list[str]:
    """What the first nodes compute that read the parts `names` of the plan `keep`: channels, a sum that a branch left,
    or a weight.
    """
    groups, branches = named_groups(trace, keep), named_branches(trace, keep)
    wanted = [name for name in names if name in groups]
    closings = dict(zip(wanted, trace.closings_of([groups[name] for name in wanted]), strict=True))
    found: dict[str, None] = {}
    for name in names:
        if name in groups:
            nodes = list(dict.fromkeys(closing.node for closing in closings[name]))
        elif name in branches:
            nodes = [branch.add for unit, branch in trace.removable_branches if unit == branches[name]]
        else:
            nodes = _users(trace, name)
        keys = (key for index in nodes[:NEAR] for key in trace.graph.nodes[index].outputs)
        found.update(dict.fromkeys(key for key in keys if key and _is_shown(trace, key) and usable(key)))
    return list(found)


def read_values(trace: Trace, keep: NDArray[np.bool_], names: Collection[str]) -> dict[str, dict[int, str]]:
    """Values by which the first nodes read groups: first output of a node -> slot -> value (cf. `Jumps.decided`)."""
    groups = named_groups(trace, keep)
    units = np.concatenate([groups[name].units for name in names if name in groups] or [np.zeros(0, np.int64)])
    found: dict[str, dict[int, str]] = {}
    for closing in trace.closings:
        node = trace.graph.nodes[closing.node]
        key = node.inputs[closing.slot]
        if key in trace.graph.producer and _is_shown(trace, key) and np.isin(closing.labels, units).any():
            found.setdefault(node.outputs[0], {})[closing.slot] = key
    return found


def _users(trace: Trace, weight: str) -> list[int]:
    """Nodes that read a weight, as it is or as it is computed from constants alone."""
    graph, found, waiting = trace.graph, list[int](), [weight]
    while waiting:
        for index, _ in graph.consumers.get(waiting.pop(), ()):
            made = [key for key in graph.nodes[index].outputs if key in graph.computed]
            waiting += made
            found += [] if made else [index]
    return found


def everything(trace: Trace, usable: Usable, cases: int) -> list[str]:
    """All values that can be compared; of too many elements every second, third, ... one."""
    keys = [key for node in trace.graph.nodes for key in node.outputs if key and _is_shown(trace, key) and usable(key)]
    step = math.ceil(elements(trace, keys) * cases / MOST_ELEMENTS)
    return keys[:: max(step, 1)]


def elements(trace: Trace, keys: Sequence[str]) -> int:
    """Of all these values; an unknown size counts as 1."""
    return sum(math.prod(size or 1 for size in trace.facts.shapes.get(key) or ()) for key in keys)


def _is_shown(trace: Trace, key: str) -> bool:
    """Floating-point numbers of the top level that depend on an input."""
    graph = trace.graph
    known = key in graph.constants or key in graph.computed or key in trace.facts.values
    return "@" not in key and not known and trace.facts.dtypes.get(key) in FLOATS
