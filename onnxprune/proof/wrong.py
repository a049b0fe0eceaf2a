"""Deliberately wrong plans: a comparison that does not tell them from the right one shows nothing.

What a plan removes has *parts*: the groups that lost something, and the residual branches that left. Each of them must
be told apart, be it alone, or in a bundle where a network is too large to run it once for each.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.cost import total
from onnxprune.trace.groups import Group, Trace

Bools = NDArray[np.bool_]
Bundle = tuple[str, ...]
BUDGET_MACS = 4e10  # of all runs of wrong plans in one round: a few seconds
BUDGET_ELEMENTS = 2e8  # of all their outputs
FEWEST, MOST = 2, 160


def parts(trace: Trace, keep: Bools) -> tuple[str, ...]:
    """Names of what `keep` (unit_count,) changes, by group or branch; the same name is never there twice."""
    return (*named_groups(trace, keep), *named_branches(trace, keep))


class Mutations:
    """Wrong plans of `keep`: what it changes is looked up once."""

    def __init__(self, trace: Trace, keep: Bools) -> None:
        self._keep, self._groups, self._branches = keep, named_groups(trace, keep), named_branches(trace, keep)

    def __call__(self, names: Collection[str], *, strong: bool = False) -> Bools:
        """In each of the parts `names` one index that went and one that stayed change places (if `strong`, as many as
        can), or a residual branch is back.
        """
        wrong: Bools = np.array(self._keep)
        for name in names:
            if name in self._groups:
                back, gone = _swapped(self._groups[name], self._keep, strong)
                wrong[back], wrong[gone] = True, False
            if name in self._branches:
                wrong[self._branches[name]] = True
        return wrong


def mutated(trace: Trace, keep: Bools) -> Bools:
    """A plan that is wrong in all of its groups, and in one of its branches."""
    return Mutations(trace, keep)([*named_groups(trace, keep), *list(named_branches(trace, keep))[:1]])


def bundles(trace: Trace, names: Sequence[str], cases: int = 1, besides: int = 0) -> tuple[Bundle, ...]:
    """The parts, one by one, or as many together as it takes to run a bundle on each of `cases` inputs and to keep what
    comes out: the outputs, and so many elements `besides`.
    """
    macs = max(total(trace.graph, trace.facts)[0], 1)
    shapes = (trace.facts.shapes.get(value.name) or () for value in trace.graph.model.proto.graph.output)
    elements = max(sum(math.prod(size or 1 for size in shape) for shape in shapes) + besides, 1)
    affordable = min(BUDGET_MACS // (macs * cases), BUDGET_ELEMENTS // (elements * cases))
    most = int(np.clip(affordable, FEWEST, MOST))
    count = min(most, len(names))
    return tuple(tuple(part.tolist()) for part in np.array_split(np.array(names, object), count)) if names else ()


def named_groups(trace: Trace, keep: Bools) -> dict[str, Group]:
    """The groups that lost something, by name."""
    return {group.name: group for group in trace.prunable if not keep[group.units].all()}


def named_branches(trace: Trace, keep: Bools) -> dict[str, int]:
    """Units of the branches that left; one inside of another would change nothing when it is back."""
    left = [(unit, branch) for unit, branch in trace.removable_branches if not keep[unit]]
    inner = {index for _, branch in left for index in branch.nodes}
    return {branch.name: unit for unit, branch in left if branch.add not in inner}


def _swapped(group: Group, keep: Bools, strong: bool) -> tuple[list[int], list[int]]:
    """Units that are back, and units that are gone instead: of the same block where there are blocks."""
    alive = keep[group.units]
    blocks = np.zeros(group.size, np.int64) if group.blocks is None else group.blocks
    back: list[int] = []
    gone: list[int] = []
    for block in np.unique(blocks[~alive]):
        inside = blocks == block
        out, stays = np.flatnonzero(inside & ~alive), np.flatnonzero(inside & alive)
        count = min(len(out), len(stays)) if strong else 1
        back += group.units[out[:count] if count else out[:1]].tolist()
        gone += group.units[stays[:count]].tolist()
        if not strong:
            break
    return back, gone
