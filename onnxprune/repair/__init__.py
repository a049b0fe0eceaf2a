"""Making up for what was removed."""

from onnxprune.repair.bias import correct_biases

__all__ = ["correct_biases"]
