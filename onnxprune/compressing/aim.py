"""A cut whose file comes down to what was asked, and not far below it, before it is repaired in full.

Plans are made on times of layers and of networks whose integers were chosen in short; what a file has in the end is
chosen with care, and mostly a little faster. Repairing takes minutes, so this is looked at before.
"""

from __future__ import annotations

import numpy as np

from onnxprune.compressing.build import planned, planned_share, unrepaired
from onnxprune.compressing.candidates import Way
from onnxprune.compressing.task import Task
from onnxprune.errors import OnnxPruneError
from onnxprune.shrinking.planning import Choice

BELOW = 0.04
"""By how much of it a file may cost less than was asked."""
TIMES = 2
"""How often a cut is planned anew."""
CLOSER = 0.998
"""Of what a cut was planned for: the least change of another plan."""


def aimed(task: Task, way: Way, choice: Choice, limit: float) -> tuple[Choice, float]:
    """The choice, or one that is planned for another share, and that share. Of those that come down to `limit` the one
    that costs most; the one that costs least if none does.
    """
    share, tried = limit, list[tuple[float, Choice, float]]()
    for _ in range(TIMES + 1):
        cost = unrepaired(task, way, choice)
        tried.append((cost, choice, share))
        if limit * (1 - BELOW) <= cost <= task.allowed(limit):
            break
        last, share = choice, limit * planned_share(way, choice) / cost
        if abs(share / tried[-1][2] - 1) < 1 - CLOSER:
            break
        try:
            choice = planned(task, way, share)
        except OnnxPruneError:
            break
        if np.array_equal(choice.keep, last.keep):  # whole blocks leave
            break
    fitting = [one for one in tried if one[0] <= task.allowed(limit)]
    _, best, at = max(fitting, key=lambda one: one[0]) if fitting else min(tried, key=lambda one: one[0])
    return best, at
