"""One ranking over all groups: the least important units leave, wherever they are.

Each group shrinks along its allowed widths; the step from one width to the next costs the mean of the normalised scores
that it removes, divided by `weight`. Steps are taken in ascending order of cost until floor(ratio * all units) have
left, those of earlier steps among them. Of equal costs, the group that would lose the smaller share goes first, then
the later group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from onnxprune.choose.allocate.groups import GroupScores, Mask, check_ratio, removed_count
from onnxprune.choose.allocate.widths import keep_mask, removal_order, widths
from onnxprune.choose.score.aggregate import Normalise
from onnxprune.choose.score.aggregate import normalise as normalise_scores


@dataclass(frozen=True, order=True)
class _Step:
    cost: float
    share: float  # of the group's units, gone after the step
    later: int  # minus the group's position
    removed: int
    width: int  # after the step


def global_(groups: Sequence[GroupScores], ratio: float, normalise: Normalise = "mean") -> list[Mask]:
    """Keep masks (n,) bool, one per group, until floor(ratio * total units) have left, as close as the widths allow.

    A step that would remove too many ends its group and leaves the rest to the others; at the end the cheapest such
    step is taken after all if that comes closer.
    """
    check_ratio(ratio)
    kept = [group.size for group in groups]
    wanted = removed_count(ratio, sum(group.whole for group in groups))
    missing = max(wanted - sum(group.gone for group in groups), 0)
    too_large: dict[int, _Step] = {}
    steps = sorted(step for at, group in enumerate(groups) for step in _steps(at, group, normalise))
    for step in steps:
        at = -step.later
        if at in too_large:
            continue
        if step.removed > missing:
            too_large[at] = step
            continue
        kept[at] = step.width
        missing -= step.removed
    closer = [step for step in too_large.values() if step.removed - missing < missing]
    if closer:
        step = min(closer)
        kept[-step.later] = step.width
    return [keep_mask(group, width) for group, width in zip(groups, kept, strict=True)]


def _steps(at: int, group: GroupScores, how: Normalise) -> list[_Step]:
    """The steps from the whole group to its least width; their costs never fall, so that sorting keeps their order."""
    allowed = widths(group)
    if len(allowed) == 1:
        return []
    ranked = normalise_scores(group.scores, how)[removal_order(group)] / group.weight
    gone = group.size - np.array(allowed)
    removed = np.diff(gone)
    costs = np.add.reduceat(ranked[: gone[-1]], gone[:-1]) / removed
    rising = np.maximum.accumulate(costs)
    return [
        _Step(float(cost), int(out) / group.size, -at, int(leaves), width)
        for cost, out, leaves, width in zip(rising, gone[1:], removed, allowed[1:], strict=True)
    ]
