"""Weights alone as integers or halves: the network computes in floating point, and its file is small.

Squared error of the embeddings of MiniLM-L6 relative to their variance, products in 4 bits: in blocks of 32 0.007, of
128 0.013; as the quantiser of ONNX Runtime rounds, at the same size, 0.082 and 0.128.
"""

from onnxprune.quantizing.weights.request import WeightRequest
from onnxprune.quantizing.weights.results import WeightLayer, WeightsOnly
from onnxprune.quantizing.weights.run import weights_only

__all__ = ["WeightLayer", "WeightRequest", "WeightsOnly", "weights_only"]
