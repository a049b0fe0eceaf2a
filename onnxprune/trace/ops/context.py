"""What a rule sees of one node, and what it may say.

A rule reads labels (`label`, `axes`), ties them (`tie`), says where indices end (`contract`, `close`), what must be
rewritten when they shrink (`literal`, `rewrite`), and gives the labels of the outputs (`set`). Whatever a rule does
not set cannot shrink; whatever it does not understand it refuses (`NotUnderstood`), and the node's inputs are pinned.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.folding import in_place, is_computed
from onnxprune.model.graph import WEIGHT_TYPES, Constant, Graph, Node
from onnxprune.model.infer import Facts, Shape, partial_of, value_of
from onnxprune.model.statics import Statics
from onnxprune.trace.ops.atoms import STAYS, Atoms, IntArray, Labels
from onnxprune.trace.ops.edits import Edit as Edit
from onnxprune.trace.ops.edits import Kept as Kept
from onnxprune.trace.ops.edits import Reference as Reference

OVERRIDABLE = (
    "its weight is a graph input, too, which a caller may override; to free it, take it out of the inputs "
    "(export with keep_initializers_as_inputs=False)"
)


class NotUnderstood(Exception):
    """A rule gives up on a node: the message is the reason that people read."""


@dataclass(frozen=True)
class Closing:
    """Indices end here: input `slot` of `node` is summed (or averaged, ...) along `axis`.

    `zero`: the slot with the integer that stands for zero, of kind "integers"; without it that is 0.
    """

    node: int
    slot: int
    axis: int
    labels: IntArray
    kind: str = "sum"
    zero: int | None = None


@dataclass(frozen=True)
class Member:
    """Rows of a constant that produce indices: what the weight criteria look at. `labels[i]` belongs to row i.

    `times`: as how many channels the kernels see a row, where other axes of the constant make channels, too (Einsum).
    """

    node: int
    slot: int
    axis: int
    labels: IntArray
    times: int = 1


@dataclass(frozen=True)
class Blocks:
    """Equal numbers must stay in every row of `labels` (blocks, indices per block)."""

    node: int
    labels: IntArray


@dataclass(frozen=True)
class Literal:
    """Input `slot` holds sizes that follow the cut: `required` gives them, None where an element stays as it is."""

    node: int
    slot: int
    required: Callable[[Kept], Sequence[int | None]]


@dataclass(frozen=True)
class Choice:
    """A node where one of several axes may carry the atoms: `labels` are those of the `taken` of `options` axes."""

    node: int
    options: int
    taken: int
    labels: IntArray


@dataclass(frozen=True)
class BlockAxis:
    """Axis `axis` of a grouped weight: rows of block b lose the indices of `labels[b]`."""

    axis: int
    labels: IntArray


@dataclass
class State:
    """Everything that one pass of tracing gathers; arrays hold raw atoms until groups.py turns them into units."""

    graph: Graph
    facts: Facts
    choices: dict[int, int] = field(default_factory=dict)
    prefer_outer: bool = False
    atoms: Atoms = field(default_factory=Atoms)
    axes: dict[str, list[Labels]] = field(default_factory=dict)
    uses: dict[tuple[int, int], list[Labels]] = field(default_factory=dict)
    whole: set[tuple[int, int, int]] = field(default_factory=set)
    """(node, slot, axis) of constants that stay as they are."""
    block_axes: dict[tuple[int, int], BlockAxis] = field(default_factory=dict)
    closings: list[Closing] = field(default_factory=list)
    members: list[Member] = field(default_factory=list)
    blocks: list[Blocks] = field(default_factory=list)
    literals: list[Literal] = field(default_factory=list)
    rewrites: dict[int, list[Callable[[Edit], None]]] = field(default_factory=dict)
    references: dict[int, Callable[[Reference], None]] = field(default_factory=dict)
    taken: list[Choice] = field(default_factory=list)
    pins: list[tuple[IntArray, str, int]] = field(default_factory=list)
    """(atoms, reason, node)"""
    refusals: dict[int, str] = field(default_factory=dict)
    """Nodes that no rule understood, with the reason."""
    shared: dict[tuple[str, str, int], tuple[int, int]] = field(default_factory=dict)
    split: set[int] = field(default_factory=set)
    """Fused nodes that split an axis into heads; those that a Reshape makes are in `taken`."""
    made_up: set[int] = field(default_factory=set)
    """First atoms of indices that no weight produces (Expand): the first to be given up."""
    crossing: set[str] = field(default_factory=set)
    """Values at the border of a loop's body, whose indices are tied to those outside."""
    shared_keys: set[str] = field(default_factory=set)
    """Constants of rank 2 and more with several consumers, not all of one value: a layer that is applied repeatedly."""

    @cached_property
    def statics(self) -> Statics:
        return Statics(self.graph, self.facts)

    def pin(self, labels: Labels, reason: str, node: int) -> None:
        if labels is not None and labels.size:
            atoms = labels[labels != STAYS]
            if atoms.size:
                self.pins.append((atoms, reason, node))


class Op:
    """One node, for its rule."""

    def __init__(self, state: State, node: Node) -> None:
        self.state = state
        self.node = node

    # ---- reading -----------------------------------------------------------------------------------------------
    @property
    def type(self) -> str:
        return self.node.op_type

    @property
    def opset(self) -> int:
        return self.state.graph.model.opset(self.node.domain)

    def attribute(self, name: str, default: Any = None) -> Any:
        return self.node.attribute(name, default)

    def has(self, slot: int) -> bool:
        """Is input `slot` given?"""
        return slot < len(self.node.inputs) and bool(self.node.inputs[slot])

    def shape(self, slot: int) -> Shape:
        """Shape of input `slot`; refuses the node if the rank is unknown."""
        if not self.has(slot):
            raise NotUnderstood(f"input {slot} is missing")
        found = self.state.facts.shapes.get(self.node.inputs[slot])
        if found is None:
            raise NotUnderstood(f"the rank of its input {slot} is unknown")
        return found

    def output_shape(self, output: int = 0) -> Shape:
        found = self.state.facts.shapes.get(self.node.outputs[output])
        if found is None:
            raise NotUnderstood("the rank of its output is unknown")
        return found

    def size(self, slot: int, axis: int) -> int:
        """Length of an axis; refuses the node if it is unknown."""
        shape = self.shape(slot)
        if not -len(shape) <= axis < len(shape):
            raise NotUnderstood(f"its input {slot} has rank {len(shape)}")
        found = shape[axis]
        if found is None:
            raise NotUnderstood(f"the size of axis {axis} of its input {slot} is unknown")
        return found

    def value(self, slot: int) -> NDArray[Any] | None:
        """The statically known value of input `slot`, if it is small."""
        return value_of(self.state.graph, self.state.facts, self.node.inputs[slot]) if self.has(slot) else None

    def elements(self, slot: int) -> list[int | None] | None:
        """The elements of a list of integers, None for those that are not known; None if nothing is known of it."""
        found = partial_of(self.state.graph, self.state.facts, self.node.inputs[slot]) if self.has(slot) else None
        return None if found is None else found.elements()

    def static(self, slot: int) -> NDArray[np.bool_]:
        """Which elements of the known value of input `slot` are the same for all symbolic sizes."""
        return self.state.statics.holds(self.node.inputs[slot])

    def fixed_value(self, slot: int) -> NDArray[Any] | None:
        """`value`, if it is the same for all symbolic sizes."""
        found = self.value(slot)
        return found if found is not None and self.static(slot).all() else None

    def constant(self, slot: int) -> Constant | None:
        return self.state.graph.constants.get(self.node.inputs[slot]) if self.has(slot) else None

    def origin(self, slot: int) -> tuple[int, int] | None:
        """(node, slot) that reads the constant of which input `slot` is made, number by number; see `in_place`."""
        path = in_place(self.state.graph, self.node.inputs[slot], len(self.shape(slot))) if self.has(slot) else None
        return None if path is None else (path[0].index, 0) if path else (self.node.index, slot)

    def label(self, slot: int, axis: int) -> Labels:
        """Labels of one axis of an input. A constant gets new atoms there, its own ones for this use."""
        rank = len(self.shape(slot))
        if not -rank <= axis < rank:
            raise NotUnderstood(f"its input {slot} has rank {rank}")
        axis %= rank
        key = self.node.inputs[slot]
        graph = self.state.graph
        constant = graph.constants.get(key) or graph.overridable.get(key)
        if constant is None or len(constant.shape) != rank:
            axes = self.state.axes.get(key)
            return axes[axis] if axes is not None and len(axes) == rank else None
        if constant.dtype not in WEIGHT_TYPES or constant.shape[axis] <= 1:
            return None
        if (self.node.index, slot, axis) in self.state.whole:
            return None
        use = self.state.uses.setdefault((self.node.index, slot), [None] * rank)
        found = use[axis]
        if found is None:
            found = use[axis] = self.state.atoms.fresh(constant.shape[axis])
            self._tie_repeated(key, slot, axis, found)
            if key in graph.overridable:
                self.pin(found, OVERRIDABLE)
            elif key in graph.fixed:
                self.pin(found, f"it belongs to {graph.fixed[key]}")
        return found

    def axes(self, slot: int) -> list[Labels]:
        return [self.label(slot, axis) for axis in range(len(self.shape(slot)))]

    # ---- saying ------------------------------------------------------------------------------------------------
    def tie(self, a: Labels, b: Labels, what: str = "") -> Labels:
        """a[i] and b[i] live and die together. Against an axis that cannot shrink, the other one is pinned."""
        if a is None or b is None:
            self.pin(a if b is None else b, what or f"{self.type} aligns it with an axis that cannot shrink")
            return a if b is None else b
        if a.shape != b.shape:
            raise NotUnderstood(f"axes of {a.size} and {b.size} indices meet")
        if a is not b:
            stays = (a == STAYS) | (b == STAYS)
            if stays.any():
                reason = what or f"{self.type} aligns it with indices that stay"
                self.pin(a[stays], reason)
                self.pin(b[stays], reason)
                self.state.atoms.tie(a[~stays], b[~stays])
            else:
                self.state.atoms.tie(a, b)
        return a

    def pin(self, labels: Labels, reason: str) -> None:
        """These indices stay; `reason` completes "it stays because ..."."""
        self.state.pin(labels, reason, self.node.index)

    def pin_axes(self, slot: int, reason: str, but: Sequence[int] = ()) -> None:
        """Pin all axes of an input except some. Those of a constant get no labels, or lose them."""
        if not self.has(slot):
            return
        rank = len(self.shape(slot))
        keep = {axis % rank for axis in but}
        for axis in range(rank):
            if axis in keep:
                continue
            if self.constant(slot) is None and self.node.inputs[slot] not in self.state.graph.overridable:
                self.pin(self.label(slot, axis), reason)
                continue
            self.state.whole.add((self.node.index, slot, axis))
            if (self.node.index, slot) in self.state.uses:
                self.pin(self.state.uses[self.node.index, slot][axis], reason)

    def close(self, slot: int, axis: int, kind: str = "sum", zero: int | None = None) -> None:
        """The axis is reduced here: whoever consumes the output does not see these indices."""
        labels = self.label(slot, axis)
        if labels is not None:
            axis %= len(self.shape(slot))
            self.state.closings.append(Closing(self.node.index, slot, axis, labels, kind, zero))

    def contract(
        self, slot: int, axis: int, other_slot: int, other_axis: int, zeros: tuple[int, int] | None = None
    ) -> None:
        """Sum over a common axis of two inputs: their indices are tied, and end here. `zeros`: see `Closing`."""
        what = f"{self.type} sums over it together with an axis that cannot shrink"
        self.tie(self.label(slot, axis), self.label(other_slot, other_axis), what)
        at, along, side = (slot, axis, 0) if self.constant(slot) is None else (other_slot, other_axis, 1)
        self.close(at, along) if zeros is None else self.close(at, along, "integers", zeros[side])

    def member(self, slot: int, axis: int, times: int = 1) -> None:
        """Along `axis`, this input holds the weights that produce the indices: criteria score them. See `Member`."""
        labels = self.label(slot, axis)
        graph, key = self.state.graph, self.node.inputs[slot]
        if labels is not None and (key in graph.overridable or is_computed(graph, key)):
            self.state.members.append(Member(self.node.index, slot, axis % len(self.shape(slot)), labels, times))

    def equal_per_block(self, labels: Labels, blocks: int) -> None:
        """What leaves an axis must leave evenly from each of `blocks` equal parts."""
        if labels is not None:
            self.state.blocks.append(Blocks(self.node.index, labels.reshape(blocks, -1)))

    def block_axis(self, slot: int, axis: int, labels: Labels, blocks: int, reason: str) -> None:
        """Axis `axis` of a weight that has an `origin`: rows of each block lose indices of their part of `labels`.

        Indices that the axis had on the way from there are none of their own: they are pinned, with the `reason`.
        """
        origin, graph, key = self.origin(slot), self.state.graph, self.node.inputs[slot]
        if labels is None or origin is None:
            return
        rows = labels.reshape(blocks, -1)
        self.state.block_axes[origin] = BlockAxis(axis, rows)
        while key not in graph.constants:  # values on the way are as long as a block
            self.pin(self.state.axes[key][axis], reason)
            self.state.axes[key] = [rows[0] if k == axis else a for k, a in enumerate(self.state.axes[key])]
            key = graph.nodes[graph.producer[key]].inputs[0]

    def literal(self, slot: int, required: Callable[[Kept], Sequence[int | None]]) -> None:
        self.state.literals.append(Literal(self.node.index, slot, required))

    def rewrite(self, function: Callable[[Edit], None]) -> None:
        self.state.rewrites.setdefault(self.node.index, []).append(function)

    def reference(self, function: Callable[[Reference], None]) -> None:
        """How the reference model computes this node when only some indices count (for normalisations)."""
        self.state.references[self.node.index] = function

    def fresh(self, size: int) -> Labels:
        """New atoms for indices that this node makes up (padding, constant tensors)."""
        if size <= 1:
            return None
        found = self.state.atoms.fresh(size)
        self.state.made_up.add(int(found[0]))
        return found

    def set(self, output: int, axes: Sequence[Labels]) -> None:
        """Labels of an output, one entry per axis. An index that is alone on its axis stays: size 1 broadcasts."""
        if output < len(self.node.outputs) and self.node.outputs[output]:
            result: list[Labels] = []
            for labels in axes:
                if labels is not None and labels.size <= 1:
                    self.pin(labels, f"{self.type} leaves it alone on its axis")
                    labels = None
                result.append(labels)
            self.state.axes[self.node.outputs[output]] = result

    # ---- inner -------------------------------------------------------------------------------------------------
    def _tie_repeated(self, key: str, slot: int, axis: int, labels: IntArray) -> None:
        """Layers of one type are one layer applied again; nodes that compute a weight (its mean, ...) use it as one."""
        if key not in self.state.shared_keys:
            return
        computes = self.node.outputs[0] in self.state.graph.computed
        for kind in ((self.type, slot), *([("", 0)] if computes else [])):
            first = self.state.shared.setdefault((key, *kind), (self.node.index, slot))
            other = self.state.uses.get(first, [None] * (axis + 1))[axis]
            if other is not None and other is not labels:
                self.state.atoms.tie(labels, other)
