"""Every group loses the same share of its units."""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxprune.allocate.groups import GroupScores, Mask, check_ratio
from onnxprune.allocate.widths import keep_mask, nearest_width

_ROUNDING = 1e-9  # 0.29 * 100 is 28.999999999999996


def local(groups: Sequence[GroupScores], ratio: float) -> list[Mask]:
    """Keep masks (n,) bool, one per group: floor(ratio * whole) units left, before rounding to an allowed width."""
    check_ratio(ratio)
    return [
        keep_mask(group, nearest_width(group, group.whole - math.floor(ratio * group.whole + _ROUNDING)))
        for group in groups
    ]
