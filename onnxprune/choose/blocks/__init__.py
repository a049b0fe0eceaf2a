"""Which residual blocks leave: by weights, or with samples by what the outputs lose."""

from onnxprune.choose.blocks.choose import select_blocks

__all__ = ["select_blocks"]
