"""What `diff` gives back: plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnxprune.results import ModelSummary


@dataclass(frozen=True)
class TensorDifference:
    """An initializer of two models; None where one does not have it. `max_difference` if the shapes agree."""

    name: str
    shape_a: tuple[int, ...] | None
    shape_b: tuple[int, ...] | None
    max_difference: float | None = None


@dataclass(frozen=True)
class NodeDifference:
    """A node (by name or first output) of two models: what is different about it, in words."""

    name: str
    op_type: str
    what: str


@dataclass(frozen=True)
class Difference:
    """What distinguishes two model files."""

    a: ModelSummary
    b: ModelSummary
    signature: tuple[str, ...]
    metadata: tuple[str, ...]
    nodes: tuple[NodeDifference, ...]
    tensors: tuple[TensorDifference, ...]

    @property
    def same(self) -> bool:
        return not (self.signature or self.metadata or self.nodes or self.tensors)
