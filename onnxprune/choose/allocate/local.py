"""Every group loses the same share of its units."""

from __future__ import annotations

from collections.abc import Sequence

from onnxprune.choose.allocate.groups import GroupScores, Mask, check_ratio, removed_count
from onnxprune.choose.allocate.widths import keep_mask, nearest_width


def local(groups: Sequence[GroupScores], ratio: float) -> list[Mask]:
    """Keep masks (n,) bool, one per group: floor(ratio * whole) units left, before rounding to an allowed width."""
    check_ratio(ratio)
    return [keep_mask(group, nearest_width(group, group.whole - removed_count(ratio, group.whole))) for group in groups]
