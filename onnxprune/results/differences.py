"""What `diff` gives back: what distinguishes two models."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.model import ModelSummary
from onnxprune.results.shown import OneLine, Shown
from onnxprune.results.units import plural


@dataclass(frozen=True, repr=False)
class TensorDifference(OneLine):
    """An initializer of two models.

    Attributes:
        name: Of the initializer.
        shape_a: In the first model; None if that does not have it.
        shape_b: In the second; None if that does not have it.
        max_difference: The largest difference of two numbers; None if the shapes differ.
    """

    name: str
    shape_a: tuple[int, ...] | None
    shape_b: tuple[int, ...] | None
    max_difference: float | None = None


@dataclass(frozen=True, repr=False)
class NodeDifference(OneLine):
    """A node of two models.

    Attributes:
        name: Its name, or that of its first output.
        op_type: Its operator.
        what: Is different about it, in words.
    """

    name: str
    op_type: str
    what: str


@dataclass(frozen=True, repr=False)
class Difference(Shown):
    """What distinguishes two model files.

    Attributes:
        a: The first.
        b: The second.
        signature: Differences of inputs, outputs, operator sets and functions, in words.
        metadata: Differences around the graph that change no result, in words.
        nodes: Those that differ.
        tensors: Initializers that differ.
    """

    a: ModelSummary
    b: ModelSummary
    signature: tuple[str, ...]
    metadata: tuple[str, ...]
    nodes: tuple[NodeDifference, ...]
    tensors: tuple[TensorDifference, ...]

    @property
    def same(self) -> bool:
        """Whether nothing does."""
        return not (self.signature or self.metadata or self.nodes or self.tensors)

    def _words(self) -> str:
        both = f"{self.a.name}, {self.b.name}"
        if self.same:
            return f"{both}: no difference"
        nodes, tensors = plural(len(self.nodes), "node"), plural(len(self.tensors), "initializer")
        return f"{both}: {nodes}, {tensors} and {len(self.signature) + len(self.metadata)} others differ"
