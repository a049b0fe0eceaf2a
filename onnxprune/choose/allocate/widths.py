"""Which numbers of units a group may keep, and which units those are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.allocate.groups import GroupScores, Mask

LEAST_STEP = 4  # fewer channels than a kernel loads at once are as good as one


def step(group: GroupScores) -> int:
    """A number of kept units is a multiple of this: of `multiple_of`, and divisible over the blocks."""
    return math.lcm(group.multiple_of, group.n_blocks)


def widths(group: GroupScores) -> list[int]:
    """The numbers that may be kept, widest first: n itself, then every multiple of `step` down to the least."""
    unit = step(group)
    return [group.size, *range((group.size - 1) // unit * unit, group.min_keep - 1, -unit)]


def finer(groups: Sequence[GroupScores]) -> list[GroupScores] | None:
    """The same with steps of half the units, and of one where that is less than 4; None if they all are of one."""
    if all(group.multiple_of == 1 for group in groups):
        return None
    return [replace(g, multiple_of=g.multiple_of // 2 if g.multiple_of > LEAST_STEP else 1) for g in groups]


def nearest_width(group: GroupScores, kept: int) -> int:
    """`kept` rounded to the nearest multiple of `step` (half goes up) that the group may keep; n stays n. A group may
    leave whole only where nothing is nearer than the least that may be left of it.
    """
    if kept >= group.size:
        return group.size
    unit = step(group)
    rounded = (2 * kept + unit) // (2 * unit) * unit
    allowed = widths(group)
    if not rounded and not allowed[-1] and 2 * kept >= allowed[-2]:
        return allowed[-2]
    return next((width for width in reversed(allowed) if width >= rounded), group.size)


def removal_order(group: GroupScores) -> NDArray[np.int64]:
    """Units from the first to leave to the last, so that after every `n_blocks` of them the blocks are equal.

    Within a block the lowest score goes first, and of equal scores the highest index. (n,)
    """
    index = np.arange(group.size)
    if group.blocks is None:
        return np.lexsort((-index, group.scores)).astype(np.int64)
    by_block = np.lexsort((-index, group.scores, group.blocks)).astype(np.int64)
    alternating: NDArray[np.int64] = by_block.reshape(group.n_blocks, -1).T.flatten()
    return alternating


def keep_mask(group: GroupScores, kept: int) -> Mask:
    """True for the `kept` units that leave last: (n,) bool."""
    mask = np.ones(group.size, dtype=np.bool_)
    mask[removal_order(group)[: group.size - kept]] = False
    return mask
