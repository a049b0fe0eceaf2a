"""Network criteria: what a unit means for the network's outputs.

Importing this package registers every network criterion; a new one is a file, and a line here.
"""

from onnxprune.choose.score.network import ablation as _ablation
from onnxprune.choose.score.network import nisp as _nisp
from onnxprune.choose.score.network.registry import (
    Network,
    NetworkCriterion,
    criteria,
    get,
    network_criterion,
    network_scores,
)

_CRITERIA = (_ablation, _nisp)

__all__ = ["Network", "NetworkCriterion", "criteria", "get", "network_criterion", "network_scores"]
