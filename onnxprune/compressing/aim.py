"""A cut whose file comes down to what was asked, and not far below it, before it is repaired in full.

Plans are made on times of layers and of networks whose integers were chosen in short; what a file has in the end is
chosen with care, and mostly a little faster. Repairing takes minutes, so this is looked at before.
"""

from __future__ import annotations

import numpy as np

from onnxprune.compressing.build import brief, planned, planned_share, unrepaired
from onnxprune.compressing.candidates import Candidate
from onnxprune.compressing.task import Task
from onnxprune.errors import OnnxPruneError

BELOW = 0.04
"""By how much of it a file may cost less than was asked."""
TIMES = 2
"""How often a cut is planned anew."""
CLOSER = 0.998
"""Of what a cut was planned for: the least change of another plan."""


def aimed(task: Task, chosen: Candidate, limit: float) -> tuple[Candidate, float]:
    """`chosen`, or a cut like it that is planned for another share, and that share. Of those that come down to `limit`
    the one of the least error after a brief repair, since more may leave in one layer so that less does in others; the
    one that costs least if none comes down to it.
    """
    assert chosen.way is not None and chosen.choice is not None
    way, one, share = chosen.way, chosen, limit
    tried: list[tuple[float, Candidate, float]] = []
    for _ in range(TIMES + 1):
        assert one.choice is not None
        cost = unrepaired(task, way, one.choice)
        tried.append((cost, one, share))
        if limit * (1 - BELOW) <= cost <= task.allowed(limit):
            break
        last, share = one.choice, limit * planned_share(way, one.choice) / cost
        if abs(share / tried[-1][2] - 1) < 1 - CLOSER:
            break
        try:
            choice = planned(task, way, share)
        except OnnxPruneError:
            break
        if np.array_equal(choice.keep, last.keep):  # whole blocks leave
            break
        one = brief(task, way, choice)
    fitting = [pair for pair in tried if pair[0] <= task.allowed(limit)]
    _, best, at = (
        min(fitting, key=lambda pair: pair[1].point.error) if fitting else min(tried, key=lambda pair: pair[0])
    )
    return best, at
