"""One family of operators a file. Importing this package registers all rules."""

from onnxprune.capture.grad.rules import (
    contraction,
    convolution,
    elementwise,
    movement,
    normalization,
    pooling,
    quantization,
    reduction,
    resize,
)

__all__ = [
    "contraction",
    "convolution",
    "elementwise",
    "movement",
    "normalization",
    "pooling",
    "quantization",
    "reduction",
    "resize",
]
