"""What an allocator is given, and the checks that all allocators share."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.registry import FloatArray
from onnxprune.errors import UsageError

Mask: TypeAlias = NDArray[np.bool_]
_ROUNDING = 1e-9


@dataclass(frozen=True)
class GroupScores:
    """A group as plain values.

    scores:       (n,) float64, higher for what should stay.
    min_keep:     at least so many units stay; none only where other groups keep the same axes alive.
    multiple_of:  the number of kept units is a multiple of this, or the group stays whole.
    blocks:       (n,) block of every unit: equal numbers are kept in every block. The blocks are of equal size.
    weight:       cost (parameters or MACs) that the removal of one unit saves, for a ranking by score per cost.
    gone:         units that left in earlier steps. A ratio is a share of these and the n that are here.
    """

    name: str
    scores: FloatArray
    min_keep: int = 1
    multiple_of: int = 1
    blocks: NDArray[np.int64] | None = None
    weight: float = 1.0
    gone: int = 0

    def __post_init__(self) -> None:
        if self.scores.ndim != 1 or not np.isfinite(self.scores).all():
            raise ValueError(f"scores of group {self.name!r} must be one finite number per unit")
        if self.multiple_of < 1:
            raise UsageError(f"units can be kept in multiples of 1 or more, got {self.multiple_of}")
        if not (math.isfinite(self.weight) and self.weight > 0.0):
            raise ValueError(f"weight of group {self.name!r} must be positive, got {self.weight}")
        if self.blocks is not None:
            if self.blocks.shape != self.scores.shape:
                raise ValueError(f"group {self.name!r}: {self.blocks.shape} blocks for {self.scores.shape} scores")
            if len(set(np.unique(self.blocks, return_counts=True)[1].tolist())) > 1:
                raise ValueError(f"the blocks of group {self.name!r} are not of equal size")

    @property
    def size(self) -> int:
        return len(self.scores)

    @property
    def whole(self) -> int:
        """What the group had before the first step."""
        return self.size + self.gone

    @property
    def n_blocks(self) -> int:
        return 1 if self.blocks is None else max(1, len(np.unique(self.blocks)))


def removed_count(ratio: float, units: int) -> int:
    """floor(ratio * units), as if the product were exact: 0.29 * 100 is 28.999999999999996."""
    return math.floor(ratio * units + _ROUNDING)


Allocator: TypeAlias = Callable[[Sequence[GroupScores], float], list[Mask]]


def check_ratio(ratio: float) -> None:
    """UsageError unless 0 <= ratio < 1."""
    if not 0.0 <= ratio < 1.0:
        raise UsageError(
            f"the ratio is the share of units to remove, at least 0 and below 1, got {ratio}",
            hint="to remove 30 % of the units, give 0.3",
        )


def parse_min_keep(text: str | float, n: int) -> int:
    """How many of n units must stay: "8" or 8 is a number, "0.25", 0.25 or "25%" a share (rounded up). In 1..n."""
    try:
        if isinstance(text, str) and text.strip().endswith("%"):
            value: float = float(text.strip()[:-1]) / 100.0
        elif isinstance(text, str):
            value = int(text) if text.strip().lstrip("+-").isdigit() else float(text)
        else:
            value = text
    except ValueError:
        value = math.nan
    if not value >= 0 or (isinstance(value, float) and value > 1.0):
        raise UsageError(
            f"the least to keep is a number of units or a share of them, got {text!r}",
            hint="give for example 8 (units), 0.25 or 25% (a quarter of the units)",
        )
    wanted = value if isinstance(value, int) else math.ceil(value * n - 1e-9)
    return max(min(1, n), min(wanted, n))
