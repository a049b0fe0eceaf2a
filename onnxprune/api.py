"""What the commands do, as functions. Nothing here prints; progress goes to a callback, results are plain values."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.choose import Options, Selection, choose, near_names, on_groups_of
from onnxprune.cut import CutError, cut, planned_shapes
from onnxprune.errors import OnnxPruneError, UsageError, VerificationError
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.model.save import check_output, stage
from onnxprune.ops.registry import find
from onnxprune.plan import Plan, check_source, keep_of, of_masks
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.proof.masked import Proof, check_runs, check_shapes, prove
from onnxprune.provenance import plan_of, record
from onnxprune.repair import correct_biases
from onnxprune.results import (
    Difference,
    Environment,
    GroupSummary,
    Inspection,
    ModelSummary,
    Progress,
    ProgressCallback,
    ProofSummary,
    RepairSummary,
    ShrinkResult,
    VerifyResult,
)
from onnxprune.summaries import changes, group_summary, layer_costs, proof_summary, summary, summary_of
from onnxprune.trace import Trace, trace_model

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
    traced, planned, selection, smaller, keep = _plan_and_cut(traced, options, plan, repair, clock)
    before = summary(source, traced.graph, traced.facts)
    changed = changes(traced, selection, planned)
    reached = planned.removed_count / max(sum(g.size for g in traced.prunable), 1)
    asked = None if plan is not None else ratio
    if dry_run or target is None or planned.removed_count == 0:
        return ShrinkResult(
            before, None, planned, changed, asked, reached, None, None, (), clock.finish(), source.notes
        )
    proof, repaired, written, after = _publish(
        traced, keep, smaller, planned, target, repair, verify, force, external_data, seed, threads, clock
    )
    return ShrinkResult(
        before, after, planned, changed, asked, reached, proof, repaired, written, clock.finish(), source.notes
    )


def _plan_and_cut(
    traced: Trace, options: Options, given: Plan | None, repair: str, clock: _Clock
) -> tuple[Trace, Plan, Selection | None, Model, NDArray[np.bool_]]:
    """Choose and cut; where a rule cannot express the choice, pin what it names and choose again.

    The plan is for the trace as it was before these pins, which is the one that everybody else gets.
    """
    unpinned = replace(traced)
    refused = False
    for _ in range(MAX_ATTEMPTS):
        selection = None if given is not None else choose(traced, options)
        if selection is not None and refused:
            selection = on_groups_of(unpinned, traced, selection)
        if selection is None:
            assert given is not None
            planned = given
        else:
            recorded = _recorded(options, repair)
            planned = of_masks(unpinned, selection.groups, selection.keep, units=traced.units_mode, options=recorded)
        keep = keep_of(planned, unpinned)
        clock.start("cut")
        try:
            return unpinned, planned, selection, cut(unpinned, keep), keep
        except CutError as refusal:
            if given is not None:
                raise VerificationError(f"the plan cannot be applied: {refusal}") from refusal
            traced.pin_node(refusal.node, str(refusal))
            refused = True
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
    facts = check_shapes(traced, smaller, planned_shapes(traced, keep))
    recorded = record(smaller, traced.graph.model, planned)
    repaired, fixed = recorded, None
    if repair != "none":
        clock.start("repair")
        corrections = correct_biases(traced, keep, recorded)
        fixed = RepairSummary("bias correction", corrections.corrected, corrections.unknown)
        repaired = corrections.model if corrections.corrected else recorded
    proof = None
    if verify:
        clock.start("write")
        with stage(recorded, target, external_data=external_data, force=force) as staged:
            clock.start("verify")
            proof = proof_summary(prove(traced, keep, staged.path, seed=seed, threads=threads))
            if repaired is recorded:
                clock.start("write")
                written = staged.commit()
                return proof, fixed, written, summary(recorded, build(recorded), facts, target.name)
    clock.start("write")
    with stage(repaired, target, external_data=external_data, force=force) as staged:
        if proof is not None:
            clock.start("verify")
            check_runs(traced, staged.path, checker=proof.checker_ok, seed=seed, threads=threads)
        clock.start("write")
        written = staged.commit()
    return proof, fixed, written, summary(repaired, build(repaired), facts, target.name)


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
        tuple(group_summary(traced, g) for g in traced.groups if g.members or g.pin is None),
        tuple(layer_costs(traced)),
        dict(sorted(missing.items())),
        (*source.notes, *_refusal_notes(traced)),
    )


def why(model: str | Path | Model, node: str, *, units: str = "channels") -> tuple[GroupSummary, ...]:
    """The groups that the inputs and outputs of a node carry, with the reasons of those that stay."""
    traced = trace_model(_load(model), units=units)
    found = [n for n in traced.graph.nodes if n.label == node or node in n.proto.output]
    if not found:
        raise UsageError(f"no node is called {node!r}.", hint=near_names(node, [n.label for n in traced.graph.nodes]))
    index = found[0].index
    groups = tuple(group_summary(traced, g) for g in traced.groups_at(index))
    refusal = traced.state.refusals.get(index)
    if refusal is not None and not any(g.pinned for g in groups):
        groups += (GroupSummary(found[0].label, 0, (), refusal, found[0].label),)
    return groups


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
        summary_of(b, b.path, traced.facts),
        planned.digest,
        proof_summary(proof),
        refitted,
    )


def _refusal_notes(traced: Trace) -> list[str]:
    """Nodes that no rule understood, counted by reason."""
    counts = Counter(traced.state.refusals.values())
    return [f"{count} nodes: {reason}" for reason, count in sorted(counts.items())]


def prove_in_memory(traced: Trace, keep: NDArray[np.bool_], model: Model, *, seed: int = 0, threads: int = 0) -> Proof:
    """The proof for a model that is not on disk."""
    with (
        tempfile.TemporaryDirectory(prefix="onnxprune-") as folder,
        stage(model, Path(folder) / "candidate.onnx") as staged,
    ):
        return prove(traced, keep, staged.path, seed=seed, threads=threads)


def diff(a: str | Path | Model, b: str | Path | Model) -> Difference:
    """What distinguishes two models."""
    from onnxprune.differences import difference

    first, second = _load(a), _load(b)
    return difference(first, second, summary_of(first, first.path), summary_of(second, second.path))


def environment() -> Environment:
    """Versions and hardware."""
    from onnxprune.system import environment as read

    return read()


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
