"""What is known of the values of a graph, for one choice of the symbolic dimensions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from onnxprune.model.partial import Partial

Shape = tuple["int | None", ...]


@dataclass
class Facts:
    """What is known of each key: `shapes` (None for an unknown dimension), `dtypes`, and `values` derived from shapes.

    `measured`: shapes as they were in a run, for sizes that the graph leaves open until then; only costs use them.
    `partial`: values derived from shapes of which not every element is known.
    `symbols` are the sizes chosen for the symbolic dimensions, `inputs` the resulting shapes of the graph's inputs.
    `assumed`: states of loops whose shapes the file does not say: as they begin.
    `refused`: labels of nodes at the top level whose operators these shapes contradict.
    """

    shapes: dict[str, Shape] = field(default_factory=dict)
    dtypes: dict[str, int] = field(default_factory=dict)
    values: dict[str, NDArray[Any]] = field(default_factory=dict)
    partial: dict[str, Partial] = field(default_factory=dict)
    inputs: dict[str, tuple[int, ...]] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)
    measured: dict[str, tuple[int, ...]] = field(default_factory=dict)
    assumed: set[str] = field(default_factory=set)

    def sized(self, key: str) -> Shape | None:
        """The shape of a value, with measured sizes where others are not known."""
        shape, seen = self.shapes.get(key), self.measured.get(key)
        if shape is None or seen is None or len(shape) != len(seen):
            return seen if shape is None else shape
        return tuple(found if size is None else size for size, found in zip(shape, seen, strict=True))


def complete(shape: Shape | None) -> bool:
    """Whether every size is known."""
    return shape is not None and all(d is not None for d in shape)
