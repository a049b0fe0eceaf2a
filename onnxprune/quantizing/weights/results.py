"""What weights became."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.model.load import Model
from onnxprune.results.plan import WeightGrid


@dataclass(frozen=True)
class WeightLayer:
    """One weight of one layer.

    Attributes:
        node: Label of the first node that reads it.
        operator: That node's operator.
        weight: Its name; of a weight that nodes make of constants, the name of what they make. "" for a product that
            has none.
        kind: "int4 in blocks of 32", "int8", "fp16", "dynamic int8"; None if it stays float.
        size: How many numbers it has.
        stored: Bytes of it in the file, scales and zero points included.
        error: Squared error of the layer's output relative to its variance, on held-out samples, the errors of earlier
            layers included; None without samples, and for what samples do not say it of.
        reason: Why it stays float; None if it does not.
        note: What else is to be known: why it is not what was asked for.
    """

    node: str
    operator: str
    weight: str
    kind: str | None
    size: int
    stored: int
    error: float | None = None
    reason: str | None = None
    note: str | None = None


@dataclass(frozen=True)
class WeightsOnly:
    """`model` as the file has it; `twin`, the float model whose weights, and rounded inputs, are what the integers
    stand for; `grids`: what a plan says of the small weights."""

    model: Model
    twin: Model
    layers: tuple[WeightLayer, ...]
    grids: tuple[WeightGrid, ...] = ()
