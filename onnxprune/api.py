"""What the commands do, as functions. Nothing here prints; progress goes to a callback, results are plain values."""

from __future__ import annotations

import difflib
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose import Options, Selection, choose
from onnxprune.cut import CutError, cut, planned_shapes
from onnxprune.errors import OnnxPruneError, UsageError, VerificationError
from onnxprune.model import cost
from onnxprune.model.graph import Graph, build
from onnxprune.model.infer import Facts, infer
from onnxprune.model.load import Model, load
from onnxprune.model.save import check_output, stage
from onnxprune.ops.registry import find
from onnxprune.plan import Plan, check_source, keep_of, of_masks
from onnxprune.provenance import plan_of, record
from onnxprune.repair import correct_biases
from onnxprune.results import (
    Difference,
    Environment,
    GroupChange,
    GroupSummary,
    Inspection,
    LayerCost,
    ModelSummary,
    Progress,
    ProgressCallback,
    ProofSummary,
    RepairSummary,
    ShrinkResult,
    VerifyResult,
)
from onnxprune.trace import Group, Trace, trace_model
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.proof.masked import Proof, check_runs, check_shapes, prove

Source = "str | Path | Model"
MAX_ATTEMPTS = 20


def default_output(model: Path) -> Path:
    """Where the result goes by default: beside the model, as NAME.pruned.onnx."""
    return model.with_name(f"{model.stem}.pruned.onnx")


def shrink(
    model: str | Path | Model,
    out: str | Path | None = None,
    *,
    ratio: float = 0.5,
    criterion: str = "l1",
    scope: str = "local",
    normalise: Any = "mean",
    aggregate: Any = "mean",
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    multiple_of: int = 1,
    min_keep: str | int | float = 1,
    units: str = "channels",
    repair: str = "auto",
    plan: Plan | None = None,
    dry_run: bool = False,
    verify: bool = True,
    force: bool = False,
    external_data: Any = "auto",
    seed: int = 0,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> ShrinkResult:
    """Remove the share `ratio` of the removable channels, prove the result, and write it to `out`.

    With `plan`, exactly that is removed. `verify=False` skips the proof (for experiments; the commands never do).
    Raises an OnnxPruneError; then nothing was written.
    """
    if repair not in ("auto", "none", "bias"):
        raise UsageError(f"--repair is auto, none or bias, found {repair!r}")
    clock = _Clock(progress)
    source = _load(model)
    target = _target(source, out, dry_run)
    if target is not None and not dry_run:
        check_output(target, force=force, inputs=source.origin)
    options = Options(
        ratio, criterion, scope, normalise, aggregate, tuple(include), tuple(exclude), multiple_of, min_keep, seed
    )
    clock.start("trace")
    traced = trace_model(source, units=plan.units if plan else units)
    clock.start("plan")
    if plan is not None:
        check_source(plan, traced)
    planned, selection, smaller, keep = _plan_and_cut(traced, options, plan, repair, clock)
    before = summary(source, traced.graph, traced.facts)
    changes = _changes(traced, selection, planned)
    reached = planned.removed_count / max(sum(g.size for g in traced.prunable), 1)
    asked = None if plan is not None else ratio
    if dry_run or target is None or planned.removed_count == 0:
        return ShrinkResult(before, None, planned, changes, asked, reached, None, None, (), clock.finish(), source.notes)
    proof, repaired, written, after = _publish(
        traced, keep, smaller, planned, target, repair, verify, force, external_data, seed, threads, clock
    )
    return ShrinkResult(
        before, after, planned, changes, asked, reached, proof, repaired, written, clock.finish(), source.notes
    )


def _plan_and_cut(
    traced: Trace, options: Options, given: Plan | None, repair: str, clock: _Clock
) -> tuple[Plan, Selection | None, Model, NDArray[np.bool_]]:
    """Choose and cut; where a rule cannot express the choice, pin what it names and choose again."""
    for _ in range(MAX_ATTEMPTS):
        selection = None if given is not None else choose(traced, options)
        if selection is None:
            assert given is not None
            planned = given
        else:
            recorded = _recorded(options, repair)
            planned = of_masks(
                traced, selection.groups, selection.keep, units=traced.units_mode, options=recorded
            )
        keep = keep_of(planned, traced)
        clock.start("cut")
        try:
            return planned, selection, cut(traced, keep), keep
        except CutError as refusal:
            if given is not None:
                raise VerificationError(f"the plan cannot be applied: {refusal}") from refusal
            traced.pin_node(refusal.node, str(refusal))
            clock.start("plan")
    raise VerificationError("the cut was refused too often")


def _publish(
    traced: Trace,
    keep: NDArray[np.bool_],
    smaller: Model,
    planned: Plan,
    target: Path,
    repair: str,
    verify: bool,
    force: bool,
    external_data: Any,
    seed: int,
    threads: int,
    clock: _Clock,
) -> tuple[ProofSummary | None, RepairSummary | None, tuple[Path, ...], ModelSummary]:
    """Write beside the target, prove, repair, check again, and rename into place."""
    check_shapes(traced, smaller, planned_shapes(traced, keep))
    recorded = record(smaller, traced.graph.model, planned)
    repaired, fixed = recorded, None
    if repair != "none":
        clock.start("repair")
        corrections = correct_biases(traced, keep, recorded)
        fixed = RepairSummary("bias correction", corrections.corrected, corrections.unknown)
        repaired = corrections.model if corrections.corrected else recorded
    proof = None
    clock.start("write")
    with stage(recorded, target, external_data=external_data, force=force) as staged:
        if verify:
            clock.start("verify")
            proof = _proof_summary(prove(traced, keep, staged.path, seed=seed, threads=threads))
        if repaired is recorded:
            clock.start("write")
            written = staged.commit()
            return proof, fixed, written, _summary_of(recorded, target, traced.facts)
    with stage(repaired, target, external_data=external_data, force=force) as staged:
        if verify:
            clock.start("verify")
            check_runs(traced, staged.path, seed=seed, threads=threads)
        clock.start("write")
        written = staged.commit()
    return proof, fixed, written, _summary_of(repaired, target, traced.facts)


def inspect(
    model: str | Path | Model, *, units: str = "channels", progress: ProgressCallback | None = None
) -> Inspection:
    """What can be removed, what stays and why, and what each layer costs."""
    clock = _Clock(progress)
    source = _load(model)
    clock.start("trace")
    traced = trace_model(source, units=units)
    missing = Counter(
        f"{node.domain}:{node.op_type}" if node.domain else node.op_type
        for node in traced.graph.nodes
        if find(node.domain, node.op_type) is None
        and not all(key in traced.facts.values for key in node.outputs if key)
    )
    clock.finish()
    return Inspection(
        summary(source, traced.graph, traced.facts),
        tuple(_group_summary(traced, g) for g in traced.groups if g.members or g.pin is None),
        tuple(_layers(traced)),
        dict(sorted(missing.items())),
        source.notes,
    )


def why(model: str | Path | Model, node: str, *, units: str = "channels") -> tuple[GroupSummary, ...]:
    """The groups that the inputs and outputs of a node carry, with the reasons of those that stay."""
    traced = trace_model(_load(model), units=units)
    found = [n for n in traced.graph.nodes if n.label == node or node in n.proto.output]
    if not found:
        names = [n.label for n in traced.graph.nodes]
        close = difflib.get_close_matches(node, names, n=3, cutoff=0.3)
        guess = f"Did you mean {', '.join(map(repr, close))}?  " if close else ""
        raise UsageError(f"no node is called {node!r}.", hint=f"{guess}Names: onnxprune inspect MODEL --layers")
    return tuple(_group_summary(traced, g) for g in traced.groups_at(found[0].index))


def verify(
    original: str | Path | Model,
    pruned: str | Path | Model,
    *,
    seed: int = 0,
    threads: int = 0,
    progress: ProgressCallback | None = None,
) -> VerifyResult:
    """Repeat the proof for a file that `shrink` wrote, from the plan stored in it. Raises VerificationError."""
    clock = _Clock(progress)
    a, b = _load(original), _load(pruned)
    planned = plan_of(b)
    clock.start("trace")
    traced = trace_model(a, units=planned.units)
    check_source(planned, traced)
    keep = keep_of(planned, traced)
    clock.start("cut")
    try:
        expected = record(cut(traced, keep), a, planned)
    except CutError as refusal:
        raise VerificationError(f"the plan cannot be applied: {refusal}") from refusal
    refitted = compare_with_expected(expected, b)
    clock.start("verify")
    proof = prove_in_memory(traced, keep, expected, seed=seed, threads=threads)
    clock.finish()
    return VerifyResult(
        summary(a, traced.graph, traced.facts),
        _summary_of(b, b.path, traced.facts),
        planned.digest,
        _proof_summary(proof),
        refitted,
    )


def prove_in_memory(
    traced: Trace, keep: NDArray[np.bool_], model: Model, *, seed: int = 0, threads: int = 0
) -> Proof:
    """The proof for a model that is not on disk."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
        with stage(model, Path(folder) / "candidate.onnx") as staged:
            return prove(traced, keep, staged.path, seed=seed, threads=threads)


def diff(a: str | Path | Model, b: str | Path | Model) -> Difference:
    """What distinguishes two models."""
    from onnxprune.diff import difference

    first, second = _load(a), _load(b)
    return difference(first, second, _summary_of(first, first.path), _summary_of(second, second.path))


def environment() -> Environment:
    """Versions and hardware."""
    from onnxprune.environment import environment as read

    return read()


def summary(model: Model, graph: Graph, facts: Facts, name: str | None = None) -> ModelSummary:
    """Size and cost of a model."""
    macs, uncounted = cost.total(graph, facts)
    return ModelSummary(
        name or (model.path.name if model.path else "model"),
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


# ---- inner -----------------------------------------------------------------------------------------------------
class _Clock:
    """Names the stages, times them, and tells the callback."""

    def __init__(self, progress: ProgressCallback | None) -> None:
        self._progress = progress
        self._seconds: dict[str, float] = {}
        self._stage = "load"
        self._since = time.perf_counter()
        self._tell()

    def start(self, stage_name: str) -> None:
        self._close()
        self._stage = stage_name
        self._tell()

    def finish(self) -> dict[str, float]:
        self._close()
        return dict(self._seconds)

    def _close(self) -> None:
        now = time.perf_counter()
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._since
        self._since = now

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(Progress(self._stage, 0))


def _load(model: str | Path | Model) -> Model:
    return model if isinstance(model, Model) else load(model)


def _target(source: Model, out: str | Path | None, dry_run: bool) -> Path | None:
    if out is not None:
        return Path(out)
    if source.path is not None:
        return default_output(source.path)
    if dry_run:
        return None
    raise UsageError("a model that was not read from a file needs an output path")


def _recorded(options: Options, repair: str) -> dict[str, Any]:
    return {
        "ratio": options.ratio,
        "criterion": options.criterion,
        "scope": options.scope,
        "normalise": options.normalise,
        "aggregate": options.aggregate,
        "include": list(options.include),
        "exclude": list(options.exclude),
        "multiple_of": options.multiple_of,
        "min_keep": options.min_keep,
        "repair": repair,
        "seed": options.seed,
    }


def _summary_of(model: Model, path: Path | None, facts: Facts | None = None) -> ModelSummary:
    graph = build(model)
    return summary(model, graph, infer(graph, facts.symbols if facts else None), path.name if path else None)


def _layer_names(traced: Trace, group: Group) -> tuple[str, ...]:
    return tuple(dict.fromkeys(traced.graph.nodes[m.node].label for m in group.members))


def _group_summary(traced: Trace, group: Group) -> GroupSummary:
    return GroupSummary(
        group.name,
        group.size,
        _layer_names(traced, group),
        group.pin.reason if group.pin else None,
        group.pin.node if group.pin else None,
        None if group.blocks is None else int(group.blocks.max()) + 1,
    )


def _layers(traced: Trace) -> list[LayerCost]:
    by_node: dict[int, list[Group]] = {}
    for group in traced.groups:
        for member in group.members:
            by_node.setdefault(member.node, []).append(group)
    result = []
    for node in traced.graph.nodes:
        held = [c.size for k in node.inputs if (c := traced.graph.constants.get(k)) is not None]
        macs = cost.macs_of(node, traced.facts)
        groups = by_node.get(node.index, [])
        if not macs and not groups:
            continue
        only = groups[0] if len(groups) == 1 else None
        pin = next((g.pin.reason for g in groups if g.pin is not None), None)
        shape = traced.facts.shapes.get(node.outputs[0])
        result.append(
            LayerCost(node.label, node.op_type, macs, sum(held), shape, only.name if only else None, pin)
        )
    return result


def _changes(traced: Trace, selection: Selection | None, planned: Plan) -> tuple[GroupChange, ...]:
    removed = {g.name: len(g.removed) for g in planned.groups}
    reasons = selection.reasons if selection else {}
    result = []
    for group in traced.groups:
        if not group.members and group.pin is not None:
            continue
        reason = group.pin.reason if group.pin else reasons.get(group.name)
        lost = 0 if group.pin else removed.get(group.name, 0)
        result.append(GroupChange(group.name, group.size, lost, _layer_names(traced, group), reason))
    return tuple(result)


def _proof_summary(proof: Proof) -> ProofSummary:
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
    )


__all__ = [
    "OnnxPruneError",
    "default_output",
    "diff",
    "environment",
    "inspect",
    "shrink",
    "verify",
    "why",
]
