"""From a trace, a criterion and a ratio to the units that stay: patterns, scores, allocation, constraints."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.kept import key_of
from onnxprune.choose.allocate import GroupScores, finer, global_, parse_min_keep, scope
from onnxprune.choose.allocate.device import Device, find_device
from onnxprune.choose.allocate.groups import check_ratio
from onnxprune.choose.score.aggregate import Combine, Normalise
from onnxprune.errors import UsageError, did_you_mean
from onnxprune.model.graph import Graph, Node
from onnxprune.results.error_curves import ErrorCurve
from onnxprune.results.kept.memory import Memory
from onnxprune.trace.groups import Group, Trace
from onnxprune.trace.whole import may_leave_whole

Mask = NDArray[np.bool_]
FloatArray = NDArray[np.float64]
NO_SCORE = "the criterion finds nothing to judge it by"


@dataclass(frozen=True)
class Options:
    """How much, which, and where; see docs of `onnxprune shrink`."""

    ratio: float = 0.5
    criterion: str = "l1"
    scope: str = "local"
    normalise: Normalise = "mean"
    aggregate: Combine = "mean"
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    multiple_of: int | None = None  # by the device: see `multiple_for`
    min_keep: str | int | float = 1
    seed: int = 0
    device: Device = field(default_factory=find_device)


@dataclass(frozen=True)
class Selection:
    """Masks over the units of `groups`, and per pruned group name why it lost less than asked.

    `blocks` are names of residual branches that leave; `reasons` has those of others, too. `curves` are those that the
    choice was made from, if it was made by error. `notes` are to be said of the choice.
    """

    groups: tuple[Group, ...]
    keep: tuple[Mask, ...]
    reasons: dict[str, str]
    blocks: tuple[str, ...] = ()
    curves: tuple[ErrorCurve, ...] = ()
    notes: tuple[str, ...] = ()


def remembered(memory: Memory, trace: Trace, asked: Any, choose: Callable[[], Selection]) -> Selection:
    """What `choose` gives, or gave in an earlier run for the same trace and what was `asked`."""
    by_name = {group.name: group for group in trace.prunable}
    names = list(by_name)
    if len(names) < len(trace.prunable):
        return choose()
    slot = memory.slot("selection", [key_of(memory, trace.graph.model, trace.units_mode, names), asked])
    found = slot.load((Selection, ErrorCurve))
    if found is not None:
        named, kept = found[0]
        selection: Selection = replace(kept, groups=tuple(by_name[name] for name in named))
        return selection
    made = choose()
    slot.put_made(lambda: ([group.name for group in made.groups], replace(made, groups=())))
    return made


def on_groups_of(trace: Trace, later: Trace, selection: Selection) -> Selection:
    """`selection`, made on `later`, which is `trace` with more pins, in the groups of `trace`: plans name those."""
    alive = np.ones(later.unit_count, bool)
    for group, mask in zip(selection.groups, selection.keep, strict=True):
        alive[group.units] = mask
    _, atoms = np.unique(trace.table, return_index=True)
    unit = later.table[atoms]
    roots = later.state.atoms.find(atoms)
    pinned = {root: g.pin.reason for g in later.groups if g.pin is not None for root in g.units.tolist()}
    named = {
        u: selection.reasons[g.name] for g in later.prunable if g.name in selection.reasons for u in g.units.tolist()
    }
    reasons = {}
    for group in trace.prunable:
        for u in group.units.tolist():
            reason = named.get(int(unit[u])) if unit[u] else pinned.get(int(roots[u]))
            if reason is not None:
                reasons[group.name] = reason
                break
    groups = trace.prunable
    masks = tuple(alive[unit[g.units]] for g in groups)
    return Selection(tuple(groups), masks, reasons, curves=selection.curves, notes=selection.notes)


@dataclass(frozen=True)
class Ranking:
    """Groups that may lose units with the scores of these, and why others stay.

    `fine`: their steps are finer than those of the device, which left nothing to choose.
    """

    groups: list[Group]
    entries: list[GroupScores]
    reasons: dict[str, str]
    fine: bool = False


def ranked(trace: Trace, options: Options, score: Callable[[list[Group]], Sequence[FloatArray | None]]) -> Ranking:
    """The groups that the options select, with their scores (n,); those without stay. Raises UsageError."""
    check_ratio(options.ratio)
    if options.multiple_of is not None and options.multiple_of < 1:
        raise UsageError(f"--multiple-of must be at least 1, found {options.multiple_of}")
    reasons = selected(trace, options)
    groups = [g for g in trace.prunable if g.name not in reasons]
    pairs = list(zip(groups, score(groups), strict=True))
    reasons.update((group.name, NO_SCORE) for group, found in pairs if found is None)
    scored = [(group, found) for group, found in pairs if found is not None]
    return Ranking([g for g, _ in scored], entries_of(trace, scored, options), reasons)


def entries_of(trace: Trace, pairs: Sequence[tuple[Group, FloatArray]], options: Options) -> list[GroupScores]:
    """Groups with their scores (n,) as an allocator sees them."""
    free = may_leave_whole(trace) if str(options.min_keep) == "1" else frozenset()
    convolved = [b.labels.ravel() for b in trace.blocks if "Conv" in trace.graph.nodes[b.node].op_type]
    apart = np.unique(np.concatenate([*convolved, np.zeros(0, np.int64)]))
    return [
        _entry(trace, g, scores, options, 0 if g.name in free else 1, apart=bool(np.isin(g.units, apart).any()))
        for g, scores in pairs
    ]


def _entry(trace: Trace, group: Group, scores: FloatArray, options: Options, least: int, *, apart: bool) -> GroupScores:
    """In a later step of a removal, its limits are those of the group as it was."""
    whole = max(trace.width_before(group), group.size)
    floor = parse_min_keep(options.min_keep, whole) if least else 0
    multiple = multiple_for(group, options.device, apart=apart) if options.multiple_of is None else options.multiple_of
    gone = whole - group.size
    return GroupScores(group.name, scores, min_keep=floor, multiple_of=multiple, blocks=group.blocks, gone=gone)


def multiple_for(group: Group, device: Device, *, apart: bool = False) -> int:
    """The number of which a group keeps a multiple if none is asked for: its layers then keep multiples of the block of
    channels on which the kernels of `device` work.

    A unit may be many channels (a head), and so may a row of a weight (of Einsum). `apart`: its blocks are groups of a
    convolution, each of which has channels of its own for the kernels; other blocks only have to lose evenly.
    """
    if not group.members:
        return 1
    if group.blocks is not None and apart:
        count = int(group.blocks.max()) + 1
        return count * device.block if group.size >= count * device.block else 1
    per_unit = max(int(np.isin(m.labels, group.units).sum()) * m.times for m in group.members) // group.size
    return device.block // math.gcd(device.block, max(per_unit, 1))


def narrower(ranking: Ranking, options: Options) -> Ranking | None:
    """The same with finer steps, if they are not what was asked for."""
    found = finer(ranking.entries) if options.multiple_of is None else None
    return None if found is None else replace(ranking, entries=found, fine=True)


def chosen(trace: Trace, options: Options, ranking: Ranking) -> Selection:
    """`allocate`; with finer steps where all groups are too narrow for a step of the device."""
    found = allocate(trace, options, ranking)
    wanted = any(options.ratio * entry.whole >= 1 for entry in ranking.entries)
    while wanted and all(mask.all() for mask in found.keep):
        again = narrower(ranking, options)
        if again is None:
            break
        ranking = again
        found = allocate(trace, options, ranking)
    return replace(found, notes=notes_of(ranking, options))


def notes_of(ranking: Ranking, options: Options) -> tuple[str, ...]:
    """What is to be said of steps that are finer than the kernels'."""
    if not ranking.fine:
        return ()
    device = options.device
    return (
        f"some layers keep widths that are no multiple of {device.block} channels, the step of this device "
        f"({device.name}): fewer multiply-accumulates, but no less time",
    )


def allocate(trace: Trace, options: Options, ranking: Ranking) -> Selection:
    """The share `options.ratio` of the ranked units leaves, in the scope `options.scope`."""
    entries, reasons = ranking.entries, dict(ranking.reasons)
    if (allocator := scope(options.scope)) is global_:
        keep = global_(entries, options.ratio, options.normalise)
    else:
        keep = allocator(entries, options.ratio)
    keep = even_blocks(trace, ranking.groups, keep, reasons)
    for group, given, mask in zip(ranking.groups, entries, keep, strict=True):
        if mask.all() and options.ratio * given.whole >= 1:
            reasons.setdefault(group.name, f"too narrow for a multiple of {given.multiple_of} or its minimum")
    return Selection(tuple(ranking.groups), tuple(keep), reasons)


def selected(trace: Trace, options: Options) -> dict[str, str]:
    """Groups that stay whole: excluded, not included, or without weights that could be scored."""
    reasons = {g.name: "no weights produce these indices" for g in trace.prunable if not g.members}
    if options.include:
        wanted = matching(trace.graph, options.include, "--include")
        for group in trace.prunable:
            if not any(m.node in wanted for m in group.members):
                reasons.setdefault(group.name, "not included")
    if options.exclude:
        unwanted = matching(trace.graph, options.exclude, "--exclude")
        for group in trace.prunable:
            if any(m.node in unwanted for m in group.members):
                reasons[group.name] = "excluded"
    return reasons


def matching(graph: Graph, patterns: Sequence[str], option: str) -> set[int]:
    """Nodes that some pattern names: a name, a glob, or type:Operator. Each must match something."""
    found: set[int] = set()
    for pattern in patterns:
        hits = {node.index for node in graph.nodes if _matches(node, pattern)}
        if not hits:
            raise UsageError(f"{option} {pattern!r} matches no node.", hint=_suggest(graph, pattern))
        found |= hits
    return found


def _matches(node: Node, pattern: str) -> bool:
    if pattern.startswith("type:"):
        return fnmatch.fnmatchcase(node.op_type, pattern[5:])
    return fnmatch.fnmatchcase(node.label, pattern) or node.label == pattern


def _suggest(graph: Graph, pattern: str) -> str:
    """The nearest thing that does match."""
    kind = pattern.startswith("type:")
    names = sorted({n.op_type if kind else n.label for n in graph.nodes})
    return near_names(pattern, [f"type:{name}" for name in names] if kind else names)


def near_names(wrong: str, names: Sequence[str]) -> str:
    """A hint: the names nearest to `wrong`, and where all of them are listed."""
    return f"{did_you_mean(wrong, names, count=3, cutoff=0.3)}Names: onnxprune inspect MODEL --layers"


def even_blocks(trace: Trace, groups: list[Group], keep: list[Mask], reasons: dict[str, str]) -> list[Mask]:
    """Blocks that span several groups must lose evenly all the same; where they do not, these groups stay whole."""
    keep = list(keep)
    owner = np.full(trace.unit_count, -1, np.int64)
    for number, group in enumerate(groups):
        owner[group.units] = number
    changed = True
    while changed:
        changed = False
        alive = np.ones(trace.unit_count, bool)
        for group, mask in zip(groups, keep, strict=True):
            alive[group.units] = mask
        for blocks in trace.blocks:
            counts = alive[blocks.labels].sum(axis=1)
            if (counts == counts[0]).all():
                continue
            for number in set(owner[np.unique(blocks.labels)].tolist()) - {-1}:
                if not keep[number].all():
                    keep[number] = np.ones(groups[number].size, bool)
                    reasons[groups[number].name] = "its blocks, shared with other groups, would not shrink evenly"
                    changed = True
    return keep
