"""Residual branches: what is added to a value that also goes on by itself, and so can leave as a whole."""

from onnxprune.trace.branches.branch import Branch
from onnxprune.trace.branches.find import find_branches
from onnxprune.trace.branches.remove import remove
from onnxprune.trace.branches.vanish import vanishing

__all__ = ["Branch", "find_branches", "remove", "vanishing"]
