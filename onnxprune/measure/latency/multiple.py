"""Which number of channels the kernels of this machine work on at once."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.allocate import local
from onnxprune.choose.allocate.groups import GroupScores
from onnxprune.trace.groups import Trace

CANDIDATES = (1, 2, 4, 8, 16)
SHARES = np.linspace(0.25, 0.75, 21)  # of channels that leave
MARGIN = 0.02
Cost = Callable[[NDArray[np.bool_]], float]


def best_multiple(trace: Trace, seconds: Cost, macs: Cost) -> int:
    """The number of which the widths should be multiples, so that a multiply-accumulate takes least time on average
    over networks of which the same share of every group has left. Of about equal ones (2 %) the smallest.
    """
    values = []
    for multiple in CANDIDATES:
        groups = [GroupScores(g.name, np.zeros(g.size), multiple_of=multiple, blocks=g.blocks) for g in trace.prunable]
        taken = []
        for share in SHARES:
            keep = np.ones(trace.unit_count, bool)
            for group, mask in zip(trace.prunable, local(groups, float(share)), strict=True):
                keep[group.units] = mask
            taken.append(seconds(keep) / max(macs(keep), 1.0))
        values.append(float(np.mean(taken)))
    return next(m for m, value in zip(CANDIDATES, values, strict=True) if value <= min(values) * (1 + MARGIN))
