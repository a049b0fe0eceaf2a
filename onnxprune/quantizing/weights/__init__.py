"""Weights alone as integers or halves: the network computes in floating point, and its file is small."""

from onnxprune.quantizing.weights.request import WeightRequest
from onnxprune.quantizing.weights.results import WeightLayer, WeightsOnly
from onnxprune.quantizing.weights.run import weights_only

__all__ = ["WeightLayer", "WeightRequest", "WeightsOnly", "weights_only"]
