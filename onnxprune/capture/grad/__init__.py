"""Gradients of ONNX graphs, written as ONNX nodes: no training framework is needed to compute them."""

from onnxprune.capture.grad import rules as rules
from onnxprune.capture.grad.registry import constant_almost_everywhere, gradient, operators
from onnxprune.capture.grad.reverse import Gradient, differentiate

__all__ = ["Gradient", "constant_almost_everywhere", "differentiate", "gradient", "operators"]
