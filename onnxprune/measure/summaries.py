"""From models, traces and proofs to the plain values of results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from onnxprune.capture.samples import Samples
from onnxprune.choose.ranking import Selection
from onnxprune.cut.plan import Plan
from onnxprune.model import cost
from onnxprune.model.graph import Graph, build
from onnxprune.model.infer import Facts, infer_like
from onnxprune.model.load import Model
from onnxprune.model.strangers import unknown
from onnxprune.proof.judge import Proof
from onnxprune.results import (
    BlockChange,
    BlockSummary,
    CalibrationSummary,
    GroupChange,
    GroupSummary,
    LayerCost,
    ModelSummary,
    ProofSummary,
    TargetSummary,
)
from onnxprune.results.system import peak_memory_bytes
from onnxprune.results.units import format_bytes, plural
from onnxprune.trace import Group, Trace
from onnxprune.trace.branches.vanish import orphans, vanishing
from onnxprune.trace.ops.registry import find

LISTED = 3
"""Functions that a remark names."""


def summary(model: Model, graph: Graph, facts: Facts, name: str | None = None) -> ModelSummary:
    """Size and cost of a model."""
    macs, uncounted = cost.total(graph, facts)
    return ModelSummary(
        name or model.name,
        model.sha256,
        model.size_bytes,
        cost.parameters(graph),
        macs,
        uncounted,
        len(graph.nodes),
        model.opset(),
        model.proto.ir_version,
        dict(facts.symbols),
    )


def summary_of(model: Model, path: Path | None, facts: Facts | None = None) -> ModelSummary:
    graph = build(model)
    return summary(model, graph, infer_like(graph, facts), path.name if path else None)


def all_executed(after: ModelSummary, dense: ModelSummary) -> ModelSummary:
    """`after` with the multiply-accumulates of the dense model: where the library of the sparse operators, which would
    skip those of zeros, is missing.
    """
    return replace(after, macs=dense.macs, uncounted=dense.uncounted)


def _layer_names(traced: Trace, group: Group) -> tuple[str, ...]:
    return tuple(dict.fromkeys(traced.graph.nodes[m.node].label for m in group.members))


def group_summary(traced: Trace, group: Group) -> GroupSummary:
    return GroupSummary(
        group.name,
        group.size,
        _layer_names(traced, group),
        group.pin.reason if group.pin else None,
        group.pin.node if group.pin else None,
        None if group.blocks is None else int(group.blocks.max()) + 1,
    )


def block_summaries(traced: Trace) -> tuple[BlockSummary, ...]:
    """Cost of a block: of all that would leave with it alone, or of its branch where it stays."""
    result = []
    for branch in traced.branches:
        gone = set(branch.nodes)
        if branch.pin is None:
            gone = set(vanishing(traced.graph, {branch.add: branch.shortcut}))
        macs = sum(cost.macs_of(traced.graph.nodes[index], traced.facts) or 0 for index in gone)
        held = sum(traced.graph.constants[key].size for key in orphans(traced.graph, gone))
        names = tuple(traced.graph.nodes[index].label for index in branch.nodes)
        result.append(BlockSummary(branch.name, names, macs, held, branch.pin, branch.pinned_by))
    return tuple(result)


def block_changes(traced: Trace, selection: Selection | None, planned: Plan) -> tuple[BlockChange, ...]:
    reasons = selection.reasons if selection else {}
    return tuple(
        BlockChange(block, block.name in planned.blocks, block.pinned or reasons.get(block.name))
        for block in block_summaries(traced)
    )


def layer_costs(traced: Trace) -> list[LayerCost]:
    by_node: dict[int, list[Group]] = {}
    for group in traced.groups:
        for member in group.members:
            by_node.setdefault(member.node, []).append(group)
    stored = {**traced.graph.constants, **traced.graph.overridable}
    result = []
    for node in traced.graph.nodes:
        held = [c.size for k in node.inputs if (c := stored.get(k)) is not None]
        macs = cost.macs_of(node, traced.facts)
        groups = by_node.get(node.index, [])
        if not macs and not groups:
            continue
        only = groups[0] if len(groups) == 1 else None
        pin = next((g.pin.reason for g in groups if g.pin is not None), None)
        shape = traced.facts.shapes.get(node.outputs[0])
        result.append(LayerCost(node.label, node.op_type, macs, sum(held), shape, only.name if only else None, pin))
    return result


def changes(traced: Trace, selection: Selection | None, planned: Plan) -> tuple[GroupChange, ...]:
    removed = {g.name: len(g.removed) for g in planned.groups}
    reasons = selection.reasons if selection else {}
    result = []
    for group in traced.groups:
        if not group.members and group.pin is not None:
            continue
        reason = group.pin.reason if group.pin else reasons.get(group.name)
        lost = 0 if group.pin else removed.get(group.name, 0)
        result.append(
            GroupChange(group.name, group.size, lost, _layer_names(traced, group), reason, group.pin is not None)
        )
    return tuple(result)


def proof_summary(proof: Proof) -> ProofSummary:
    return ProofSummary(
        proof.cases,
        proof.skipped,
        sum(c.elements for c in proof.comparisons),
        proof.worst,
        proof.worst_absolute,
        proof.tolerance.relative,
        proof.tolerance.policy,
        proof.sensitive,
        proof.notes,
        proof.refused,
        proof.untold,
    )


def with_size(target: TargetSummary | None, written: Sequence[Path]) -> TargetSummary | None:
    """With the bytes of the files that were written, if the target is in bytes."""
    if target is None or target.kind != "size":
        return target
    return replace(target, measured=float(sum(path.stat().st_size for path in written)))


def calibration_summary(samples: Samples | None) -> CalibrationSummary | None:
    """The samples, and the memory that the process has needed up to now."""
    if samples is None:
        return None
    return CalibrationSummary(
        samples.source, samples.count, samples.held_out_samples, samples.memory_bytes, peak_memory_bytes()
    )


def operators_without_rule(traced: Trace) -> dict[str, int]:
    """How many nodes there are of each operator that no rule is for; of no importance for blocks, which leave whole."""
    missing = Counter(
        f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        for node in traced.graph.nodes
        if traced.units_mode != "blocks"
        and find(node.domain, node.op_type) is None
        and not all(key in traced.facts.values for key in node.outputs if key)
    )
    return dict(sorted(missing.items()))


def remarks(data: Path | None, model: Model) -> tuple[str, ...]:
    """On a `model` that was written: the data file of one that it replaced, and functions that it calls no more."""
    found = [
        f"{data.name} was read by the model that was replaced, not by the new one; "
        "it is still there: delete it if no other model reads it"
        for data in ([] if data is None else [data])
    ]
    lost = [f"{name} ({plural(count, 'call')})" for name, count in model.lost_calls().items()]
    if lost:
        found.append(
            f"functions of the model are written out where their nodes or weights changed: {', '.join(lost[:LISTED])}"
            + (f" and {len(lost) - LISTED} more" if len(lost) > LISTED else "")
        )
    return tuple(found)


def outgrown(before: ModelSummary, after: ModelSummary, plan: Plan) -> tuple[str, ...]:
    """A remark on a result that is larger than its original, which nobody expects of it."""
    more = after.size_bytes - before.size_bytes
    if more <= 0:
        return ()
    plan_bytes = format_bytes(len(plan.dumps()))
    what = f"the plan in its metadata ({plan_bytes}), and what else was added, outweigh what left"
    return (f"the file is {format_bytes(more)} larger than the original: {what}",)


def stranger_notes(model: Model) -> tuple[str, ...]:
    """That nothing can be made of a model, as nobody can run it."""
    words = unknown(model)
    return () if words is None else (f"{words}; so shrink and sparsify will refuse it, as nothing can be proven of it",)


def refusal_notes(traced: Trace) -> list[str]:
    """Nodes that no rule understood, counted by reason."""
    counts = Counter(traced.state.refusals.values())
    return [f"{plural(count, 'node')}: {reason}" for reason, count in sorted(counts.items())]
