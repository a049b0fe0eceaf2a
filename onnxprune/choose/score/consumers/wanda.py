"""Wanda for whole units: score_i = sum over consumers and features f of i of sum_j |W_fj| sqrt(G_ff).

`errors` is the mean square of what the removed units contribute together, never falling.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose.score.consumers.greedy import remove_by_score
from onnxprune.choose.score.consumers.moments import Consumer, Removal
from onnxprune.choose.score.consumers.plain import interactions, plain_errors
from onnxprune.choose.score.consumers.registry import consumer_criterion


@consumer_criterion("wanda", source="Sun et al., Wanda, 2023, structured form")
def wanda(consumers: Sequence[Consumer], n: int, *, blocks: NDArray[np.int64] | None = None) -> Removal:
    """Absolute weights times the root mean square of their inputs, summed over all that read a unit."""
    scores = np.zeros(n)
    for consumer in consumers:
        size = np.sqrt(np.maximum(consumer.gram.diagonal(), 0.0)) * np.abs(consumer.weight).sum(axis=1)
        mine = consumer.unit >= 0
        scores += np.bincount(consumer.unit[mine], size[mine], minlength=n)
    order = remove_by_score(scores, consumers, blocks)
    return Removal(order, plain_errors(interactions(consumers, n), order))
