"""What a residual branch is, in terms of the graph."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.model.graph import Graph


@dataclass(frozen=True)
class Branch:
    """One operand of a sum s + b: the nodes between the shortcut s and b.

    `name` is that of the sum; `add` its node, `shortcut` the slot of s in it. `nodes` are the branch's own, in order
    of the graph; `vanishing` says what leaves with them. `pin` is why the branch stays, `pinned_by` the node that
    says so; both None for one that may leave.
    """

    name: str
    add: int
    shortcut: int
    nodes: tuple[int, ...]
    pin: str | None = None
    pinned_by: str | None = None

    def branch_of(self, graph: Graph) -> str:
        """The value b."""
        return graph.nodes[self.add].inputs[1 - self.shortcut]
