"""The single place where tensors shrink and sizes are rewritten."""

from onnxprune.cut.cut import CutError, cut, planned_shapes

__all__ = ["CutError", "cut", "planned_shapes"]
