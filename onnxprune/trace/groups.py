"""From tied atoms to units and groups.

A *unit* is a class of tied atoms: it goes as a whole. A *group* is the set of units of the same origins, which are
interchangeable. Everything a pass of tracing gathered is translated from atoms to units: unit 0 is "stays".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.model.graph import Graph
from onnxprune.model.infer import Facts
from onnxprune.trace.branches.branch import Branch
from onnxprune.trace.branches.vanish import vanishing
from onnxprune.trace.ops.atoms import IntArray, Labels
from onnxprune.trace.ops.context import Blocks, Closing, Member, State

GROUPED = frozenset({"Conv", "GroupNormalization"})
"""Operators whose choice is between groups of channels and channels of every group, not between heads and positions."""


@dataclass(frozen=True)
class Pin:
    """Why a group stays: `reason`, said by `node` (None for what the file declares)."""

    reason: str
    node: str | None


@dataclass
class Group:
    """`units` are unit numbers, ordered by their first index; `blocks` is a block number per unit, where equal
    numbers must stay in every block; `pin` is set for groups that stay.
    """

    name: str
    units: IntArray
    pin: Pin | None = None
    members: list[Member] = field(default_factory=list)
    blocks: IntArray | None = None

    @property
    def size(self) -> int:
        return len(self.units)


@dataclass
class Trace:
    """The model seen by indices. All labels are unit numbers; `unit_count` includes unit 0."""

    graph: Graph
    facts: Facts
    state: State
    groups: list[Group]
    unit_count: int
    table: IntArray
    """unit of every atom"""
    units_mode: str = "channels"
    branches: tuple[Branch, ...] = ()
    """residual branches, if they are what leaves: those without a pin are the last units, in their order"""
    stands_for: NDArray[np.float64] | None = None
    """of every atom: how many units of the original its unit is of, where earlier steps have left (gradual.py)"""

    @property
    def has_heads(self) -> bool:
        """Whether some axis is split, so that it matters which part of it carries the indices."""
        split = (self.graph.nodes[choice.node].op_type not in GROUPED for choice in self.state.taken)
        return any(split) or bool(self.state.split)

    @property
    def removable_branches(self) -> list[tuple[int, Branch]]:
        """(unit, branch) of every branch that may leave."""
        free = [branch for branch in self.branches if branch.pin is None]
        return list(zip(range(self.unit_count - len(free), self.unit_count), free, strict=True))

    def removed_sums(self, keep: NDArray[np.bool_]) -> dict[int, int]:
        """Nodes of the sums whose branch `keep` (unit_count,) drops -> the slot of the shortcut, which they become."""
        return {branch.add: branch.shortcut for unit, branch in self.removable_branches if not keep[unit]}

    def vanishing(self, keep: NDArray[np.bool_]) -> frozenset[int]:
        """Nodes that leave with the branches that `keep` drops."""
        sums = self.removed_sums(keep)
        return vanishing(self.graph, sums) if sums else frozenset()

    def lost_values(self, keep: NDArray[np.bool_]) -> frozenset[str]:
        """Values that the network which keeps `keep` does not have."""
        gone = (self.graph.nodes[index] for index in self.vanishing(keep))
        return frozenset(key for node in gone for key in node.outputs if key not in self.graph.fixed)

    def stand_ins(self, keep: NDArray[np.bool_]) -> dict[str, str]:
        """Values of the network that keeps `keep` which take the place of a sum -> the last sum that each is."""
        found: dict[str, str] = {}
        root: dict[str, str] = {}
        for index, slot in self.removed_sums(keep).items():
            node = self.graph.nodes[index]
            shortcut = root[node.outputs[0]] = root.get(node.inputs[slot], node.inputs[slot])
            found[shortcut] = node.outputs[0]
        lost = self.lost_values(keep)
        made = self.graph.producer
        return {key: total for key, total in found.items() if key in made and key not in lost and total in lost}

    def axes(self, key: str) -> list[Labels]:
        """Unit numbers per axis of a value; None for an axis that cannot shrink."""
        return [None if x is None else self.table[x] for x in self.state.axes.get(key, ())]

    def pin_node(self, index: int, reason: str) -> None:
        """Let all indices stay that a node touches, and form the groups anew.

        Where it touches none that may go, those of the nodes that it gets its inputs from, or else all: what was
        refused once is not tried again.
        """
        nodes, seen = [index], {index}
        while nodes and not any((self.table[x] > 0).any() for node in nodes for x in self._labels_at(node)):
            keys = [key for node in nodes for key in self.graph.nodes[node].inputs]
            nodes = sorted({self.graph.producer[key] for key in keys if key in self.graph.producer} - seen)
            seen.update(nodes)
        for node in nodes:
            for labels in self._labels_at(node):
                self.state.pin(labels, reason, index)
        if not nodes:
            self.state.pin(np.arange(1, len(self.state.atoms), dtype=np.int64), reason, index)
        self._renew()

    def pin_all(self, reason: str) -> None:
        """Let every index stay, and form the groups anew."""
        self.state.pin(np.arange(1, len(self.state.atoms), dtype=np.int64), reason, -1)
        self._renew()

    def _renew(self) -> None:
        fresh = build(self.state)
        self.groups, self.unit_count, self.table = fresh.groups, fresh.unit_count, fresh.table

    def groups_at(self, index: int) -> list[Group]:
        """Groups of the indices that a node touches."""
        roots = self.state.atoms.roots()
        found = [np.unique(roots[labels]) for labels in self._labels_at(index)]
        wanted = set(np.concatenate(found).tolist()) if found else set()
        units = {int(self.table[r]) for r in wanted} - {0}
        return [
            g
            for g in self.groups
            if (g.pin is None and not units.isdisjoint(g.units.tolist()))
            or (g.pin is not None and not wanted.isdisjoint(g.units.tolist()))
        ]

    def _labels_at(self, index: int) -> list[IntArray]:
        node = self.graph.nodes[index]
        found = [x for key in (*node.inputs, *node.outputs) for x in self.state.axes.get(key, ())]
        found += [x for slot in range(len(node.inputs)) for x in self.state.uses.get((index, slot), ())]
        return [x for x in found if x is not None]

    @property
    def prunable(self) -> list[Group]:
        return [g for g in self.groups if g.pin is None]

    def width_before(self, group: Group) -> int:
        """How many units the group had before any step of a removal."""
        if self.stands_for is None:
            return group.size
        _, atoms = np.unique(self.table, return_index=True)  # one of every unit, unit 0 first
        return round(float(self.stands_for[atoms[group.units]].sum()))

    @property
    def closings(self) -> list[Closing]:
        """Where indices end, in unit numbers."""
        return [replace(c, labels=self.table[c.labels]) for c in self.state.closings]

    def closings_of(self, groups: Sequence[Group]) -> list[list[Closing]]:
        """Where the indices of each of these groups end; none of them is pinned."""
        owner = np.full(self.unit_count, -1, np.int64)
        for number, group in enumerate(groups):
            owner[group.units] = number
        found: list[list[Closing]] = [[] for _ in groups]
        for closing in self.closings:
            for number in np.unique(owner[closing.labels]).tolist():
                if number >= 0:
                    found[number].append(closing)
        return found

    @property
    def blocks(self) -> list[Blocks]:
        """Block constraints, in unit numbers."""
        return [replace(b, labels=self.table[b.labels]) for b in self.state.blocks]

    def kept_part(self, key: str, keep: NDArray[np.bool_], value: NDArray[Any]) -> NDArray[Any]:
        """The part of a value of the original that the network which keeps `keep` (unit_count,) has."""
        for axis, labels in enumerate(self.axes(key)):
            if labels is not None and value.ndim > axis and value.shape[axis] == labels.size:
                value = np.compress(keep[labels], value, axis=axis)
        return value


def build(state: State) -> Trace:
    """Units and groups of one finished pass."""
    _pin_block_conflicts(state)
    roots = state.atoms.roots()
    reasons = _pins(state, roots)
    alive, position = np.unique(roots[1:], return_inverse=True)
    pinned = np.array([int(r) in reasons for r in alive], bool)
    unit = np.zeros(len(alive), np.int64)
    unit[~pinned] = np.arange(1, int((~pinned).sum()) + 1)
    table = np.zeros(len(roots), np.int64)
    table[1:] = unit[position]
    signatures = _signatures(state, position, len(alive))
    trace = Trace(state.graph, state.facts, state, [], int((~pinned).sum()) + 1, table)
    trace.groups = _groups(state, alive, unit, signatures, reasons)
    _attach_members(trace)
    _attach_blocks(trace)
    return trace


def _pins(state: State, roots: IntArray) -> dict[int, int]:
    """root -> number of the first pin that holds it"""
    reasons: dict[int, int] = {}
    for number, (atoms, _, _) in enumerate(state.pins):
        for root in np.unique(roots[atoms]).tolist():
            reasons.setdefault(root, number)
    return reasons


def _pin_block_conflicts(state: State) -> None:
    """Atoms under two block structures that do not nest stay."""
    seen: dict[int, int] = {}
    for blocks in state.blocks:
        roots = state.atoms.find(blocks.labels)
        per_row = [np.unique(row[row != 0]) for row in roots]
        sizes = {len(r) for r in per_row}
        overlap = len(np.unique(np.concatenate(per_row))) != sum(len(r) for r in per_row) if per_row else False
        count = len(blocks.labels)
        if len(sizes) > 1 or overlap or (roots == 0).any() or seen.setdefault(int(roots.min()), count) != count:
            state.pin(blocks.labels.ravel(), "groups of two sizes meet on it", blocks.node)


def _signatures(state: State, position: IntArray, count: int) -> NDArray[np.uint64]:
    """One number per unit that depends on the set of its origins (a seeded random number each, summed)."""
    starts = np.array(state.atoms.starts, np.int64)
    atoms = np.arange(1, len(state.atoms), dtype=np.int64)
    origin = np.searchsorted(starts, atoms, side="right") - 1
    pairs = np.unique(position * len(starts) + origin)
    weights = np.random.default_rng(0).integers(1, 2**63, len(starts), dtype=np.uint64)
    result = np.zeros(count, np.uint64)
    with np.errstate(over="ignore"):
        np.add.at(result, pairs // len(starts), weights[pairs % len(starts)])
    return result


def _groups(
    state: State, alive: IntArray, unit: IntArray, signatures: NDArray[np.uint64], reasons: dict[int, int]
) -> list[Group]:
    """Groups in the order of their first atom; a group with both pinned and free units is two groups."""
    pinned = unit == 0
    keys = np.stack([signatures, pinned.astype(np.uint64)], axis=1)
    _, first, label = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    by_label = np.argsort(label.ravel(), kind="stable")
    bounds = np.searchsorted(label.ravel()[by_label], np.arange(len(first) + 1))
    groups = []
    for k in order.tolist():
        rows = by_label[bounds[k] : bounds[k + 1]]
        pin = None
        if pinned[rows[0]]:
            _, reason, node = state.pins[reasons[int(alive[rows[0]])]]
            pin = Pin(reason, state.graph.nodes[node].label if node >= 0 else None)
        groups.append(Group("", unit[rows] if pin is None else alive[rows], pin))
    return groups


def _attach_members(trace: Trace) -> None:
    """Give every group the constants whose rows produce it, and a name from the first of them."""
    group_of_unit = np.full(trace.unit_count, -1, np.int64)
    group_of_root: dict[int, int] = {}
    for number, group in enumerate(trace.groups):
        if group.pin is None:
            group_of_unit[group.units] = number
        else:
            group_of_root.update(dict.fromkeys(group.units.tolist(), number))
    roots = trace.state.atoms.roots()
    for member in trace.state.members:
        units = trace.table[member.labels]
        numbers = set(group_of_unit[units[units > 0]].tolist())
        numbers |= {
            group_of_root[r] for r in np.unique(roots[member.labels[units == 0]]).tolist() if r in group_of_root
        }
        for number in sorted(numbers):
            trace.groups[number].members.append(replace(member, labels=units))
    _name(trace)


def _name(trace: Trace) -> None:
    """Names of groups: the layer that produces them first, or the constant or node that they belong to."""
    owners: IntArray | None = None
    names: dict[str, int] = {}
    for group in trace.groups:
        if group.members:
            owner = trace.graph.nodes[group.members[0].node].label
        elif group.pin is not None:
            owner = "indices"
        else:
            owners = _first_uses(trace) if owners is None else owners
            owner = _use_name(trace, int(owners[group.units[0]]))
        seen = names.get(owner, 0)
        names[owner] = seen + 1
        group.name = owner if seen == 0 else f"{owner}#{seen + 1}"


def _first_uses(trace: Trace) -> IntArray:
    """Number of the first use of a constant that holds each unit, -1 for none."""
    first = np.full(trace.unit_count, -1, np.int64)
    for number, axes in reversed(list(enumerate(trace.state.uses.values()))):
        for labels in axes:
            if labels is not None:
                first[trace.table[labels]] = number
    return first


def _use_name(trace: Trace, number: int) -> str:
    if number < 0:
        return "indices"
    node, slot = list(trace.state.uses)[number]
    return f"{trace.graph.nodes[node].label}:{trace.graph.nodes[node].proto.input[slot]}"


def _attach_blocks(trace: Trace) -> None:
    for blocks in trace.blocks:
        units = blocks.labels
        if (units == 0).any():
            continue
        number = np.zeros(trace.unit_count, np.int64) - 1
        for block, row in enumerate(units):
            number[row] = block
        for group in trace.prunable:
            found = number[group.units]
            even = len(set(np.unique(found, return_counts=True)[1].tolist())) == 1  # or other groups hold the rest
            if (found >= 0).all() and even:
                group.blocks = found
