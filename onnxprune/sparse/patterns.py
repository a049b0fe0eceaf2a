"""Shapes of the blocks in which weights are removed: the unit that a sparse kernel reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from onnxprune.errors import UsageError

FLOAT_ROWS = (1, 2, 4, 8)
"""Rows of a block that the fp32 kernels know; their blocks are one column wide."""
INTEGER_ROWS = (1, 2, 4)
INTEGER_COLUMNS = 4
"""The int8 kernels multiply four input channels at once."""


@dataclass(frozen=True)
class Pattern:
    """A block of `rows` output channels by `columns` inputs: its weights stay or leave together.

    With `of`, weights leave one by one, so that of every `of` inputs in a row at most `kept` stay (N:M); such weights
    are stored as those without a pattern. Inputs are neighbouring channels, of one tap of the kernel.
    """

    rows: int
    columns: int = 1
    kept: int = 0
    of: int = 0

    @property
    def size(self) -> int:
        return self.rows * self.columns

    @property
    def share(self) -> float | None:
        """The share of the weights that leaves, where the pattern says it (N:M)."""
        return 1.0 - self.kept / self.of if self.of else None

    @property
    def for_integers(self) -> Pattern:
        """The same in blocks that the int8 kernels have; single weights and N:M stay, and are stored as 1 x 4."""
        if self.of or self.columns > 1 or self.rows == 1:
            return self
        return Pattern(max(rows for rows in INTEGER_ROWS if rows <= self.rows), INTEGER_COLUMNS)

    def stored_rows(self, known: Sequence[int], outputs: int = 0) -> int:
        """The most of the rows `known` of which these blocks, and `outputs`, are multiples."""
        return max(rows for rows in known if self.rows % rows == 0 and outputs % rows == 0)

    def __str__(self) -> str:
        if self.of:
            return f"{self.kept}:{self.of}"
        return "unstructured" if self.size == 1 else f"{self.rows}x{self.columns}"


UNSTRUCTURED = Pattern(1, 1)


def parse_pattern(text: str) -> Pattern:
    """`unstructured`, rows by columns such as `4x1`, or N:M such as `2:4`. Raises UsageError."""
    if text == "unstructured":
        return UNSTRUCTURED
    hint = "unstructured, output channels by inputs (4x1, 2x1, 8x1), or weights that stay of how many inputs (2:4)"
    match = re.fullmatch(r"([1-9]\d?)([x:])([1-9]\d?)", text)
    if match is None:
        raise UsageError(f"not a pattern of blocks: {text!r}", hint=hint)
    first, second = int(match[1]), int(match[3])
    if match[2] == "x":
        return Pattern(first, second)
    if first >= second:
        raise UsageError(f"of {second} inputs {first} are to stay: {text!r} removes nothing", hint=hint)
    return Pattern(1, 1, first, second)
