"""What `inspect` and `why` say: groups, blocks and layers, and what of them can leave."""

from __future__ import annotations

from dataclasses import dataclass

from onnxprune.results.model import ModelSummary
from onnxprune.results.quantization import Sensitivities
from onnxprune.results.shown import OneLine, Shown
from onnxprune.results.units import format_count, plural


@dataclass(frozen=True, repr=False)
class LayerCost(OneLine):
    """One node with weights.

    Attributes:
        node: Its name, or that of its first output.
        op_type: Its operator.
        macs: Multiply-accumulates; None if its sizes are unknown.
        parameters: Numbers in its weights.
        output_shape: Sizes of its first output, None for those that are unknown; None if even the rank is.
        group: Of its output indices; None if they are in several groups, or in none.
        pinned: Why they stay; None if they can leave.
    """

    node: str
    op_type: str
    macs: int | None
    parameters: int
    output_shape: tuple[int | None, ...] | None
    group: str | None
    pinned: str | None


@dataclass(frozen=True, repr=False)
class GroupSummary(OneLine):
    """One group of interchangeable indices.

    Attributes:
        name: That of the layer it begins at.
        size: How many indices it has.
        layers: Those that produce them.
        pinned: Why it stays; None if it can shrink.
        pinned_by: The node that is the reason; None where no single node is.
        blocks: How many equal blocks its indices are in; None for one.
    """

    name: str
    size: int
    layers: tuple[str, ...]
    pinned: str | None
    pinned_by: str | None
    blocks: int | None = None


@dataclass(frozen=True, repr=False)
class BlockSummary(OneLine):
    """One residual block.

    Attributes:
        name: That of its sum.
        nodes: Of its branch.
        macs: Multiply-accumulates of all that would leave with it.
        parameters: Numbers in the weights that would leave with it.
        pinned: Why it stays; None if it can leave.
        pinned_by: The node that is the reason; None where no single node is.
    """

    name: str
    nodes: tuple[str, ...]
    macs: int
    parameters: int
    pinned: str | None
    pinned_by: str | None


@dataclass(frozen=True, repr=False)
class Inspection(Shown):
    """What can be removed from a model, what stays and why, and what each layer costs.

    Attributes:
        model: The file.
        groups: All groups of channels or heads; empty with units "blocks".
        layers: All nodes with a cost, in the order of the graph.
        operators_without_rule: Operator -> how many nodes; what touches them stays.
        notes: Remarks.
        blocks: All residual blocks, with units "blocks" only.
        units: "channels", "heads" or "blocks".
        quantization: What integers would cost each layer; None if that was not asked.
    """

    model: ModelSummary
    groups: tuple[GroupSummary, ...]
    layers: tuple[LayerCost, ...]
    operators_without_rule: dict[str, int]
    notes: tuple[str, ...] = ()
    blocks: tuple[BlockSummary, ...] = ()
    units: str = "channels"
    quantization: Sensitivities | None = None

    @property
    def removable(self) -> int:
        """Channels, or blocks."""
        return sum(g.size for g in self.groups if g.pinned is None) + sum(b.pinned is None for b in self.blocks)

    def _words(self) -> str:
        if self.units == "blocks":
            found, free = plural(len(self.blocks), "residual block"), f"{self.removable} can be removed"
        else:
            found, free = plural(len(self.groups), "group"), f"{format_count(self.removable)} channels can be removed"
        return f"{self.model.name}: {found}, {free}"
