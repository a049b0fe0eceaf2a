"""What `diff` says of single tensors and nodes: plain values."""

from __future__ import annotations

from dataclasses import dataclass


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
