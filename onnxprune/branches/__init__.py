"""Residual branches: what is added to a value that also goes on by itself, and so can leave as a whole."""

from onnxprune.branches.branch import Branch
from onnxprune.branches.find import find_branches
from onnxprune.branches.remove import remove
from onnxprune.branches.vanish import vanishing

__all__ = ["Branch", "find_branches", "remove", "vanishing"]
