"""Activation criteria: how much a channel says on calibration data, whatever reads it.

Importing this package registers every activation criterion; a new one is a file, and a line here.
"""

from onnxprune.choose.score.activations import apoz as _apoz
from onnxprune.choose.score.activations import entropy as _entropy
from onnxprune.choose.score.activations import hrank as _hrank
from onnxprune.choose.score.activations import mean_activation as _mean_activation
from onnxprune.choose.score.activations import std_activation as _std_activation
from onnxprune.choose.score.activations.collect import activation_scores
from onnxprune.choose.score.activations.registry import ActivationCriterion, activation_criterion, criteria, get

_CRITERIA = (_apoz, _entropy, _hrank, _mean_activation, _std_activation)

__all__ = ["ActivationCriterion", "activation_criterion", "activation_scores", "criteria", "get"]
