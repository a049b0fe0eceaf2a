"""Writing small files next to a result: see outputs.py."""

from __future__ import annotations

from onnxprune.outputs import check_target, write_text

__all__ = ["check_target", "write_text"]
