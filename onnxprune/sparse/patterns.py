"""Shapes of the blocks in which weights are removed: the unit that a sparse kernel reads."""

from __future__ import annotations

import re
from dataclasses import dataclass

from onnxprune.errors import UsageError

FLOAT_ROWS = (1, 2, 4, 8)
"""Rows of a block that the fp32 kernels know; their blocks are one column wide."""


@dataclass(frozen=True)
class Pattern:
    """A block of `rows` output channels by `columns` inputs: its weights stay or leave together."""

    rows: int
    columns: int = 1

    @property
    def size(self) -> int:
        return self.rows * self.columns

    def __str__(self) -> str:
        return "unstructured" if self.size == 1 else f"{self.rows}x{self.columns}"


UNSTRUCTURED = Pattern(1, 1)


def parse_pattern(text: str) -> Pattern:
    """`unstructured`, or rows by columns such as `4x1`. Raises UsageError."""
    if text == "unstructured":
        return UNSTRUCTURED
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", text)
    if match is None:
        raise UsageError(
            f"not a pattern of blocks: {text!r}",
            hint="unstructured, or output channels by inputs: 4x1, 2x1, 8x1",
        )
    return Pattern(int(match[1]), int(match[2]))
