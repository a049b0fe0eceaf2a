"""Optimal Brain Damage on the outputs: every unit on its own, cost_q = tr(W_q' G_qq W_q) / power."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers.greedy import never_falling, remove_by_score
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.consumers.plain import own_costs
from onnxprune.choose.score.consumers.registry import consumer_criterion


@consumer_criterion("obd-output", source="Le Cun et al., Optimal Brain Damage, NIPS 1989, layer-wise")
def obd_output(consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None) -> Removal:
    """Mean square of what a unit alone contributes to the consumers' outputs, the others unchanged.

    `errors` are the sums of these costs: as if contributions were uncorrelated.
    """
    costs = own_costs(consumers, n)
    order = remove_by_score(costs, consumers, blocks)
    return Removal(order, never_falling(np.cumsum(costs[order])))
