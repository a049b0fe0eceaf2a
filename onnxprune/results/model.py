"""What a model file is and costs."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.shown import OneLine
from onnxprune.results.units import format_bytes, format_count, format_macs


@dataclass(frozen=True, repr=False)
class ModelSummary(OneLine):
    """One model file.

    Attributes:
        name: Of the file; "model" if it was not read from one.
        sha256: Hex digest over the file, then its data files.
        size_bytes: Bytes of the file and its data files.
        parameters: Numbers in its weights.
        macs: Multiply-accumulates of one inference, for the sizes in `symbols`.
        uncounted: How many nodes have an unknown cost, which `macs` lacks.
        nodes: How many there are.
        opset: Version of the standard operators.
        ir_version: Of the file's format.
        symbols: Symbolic dimension -> the size that was assumed for it.
    """

    name: str
    sha256: str
    size_bytes: int
    parameters: int
    macs: int
    uncounted: int
    nodes: int
    opset: int
    ir_version: int
    symbols: dict[str, int]

    def _words(self) -> str:
        size, macs = format_bytes(self.size_bytes), format_macs(self.macs)
        return f"{self.name}: {format_count(self.parameters)} parameters, {size}, {macs}, opset {self.opset}"
