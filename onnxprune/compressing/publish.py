"""Write what was chosen, prove the cut and the integers by a reference each, and rename it: all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnxprune.compressing.candidates import Candidate
from onnxprune.compressing.task import Task
from onnxprune.cut import planned_shapes
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.measure.held_out import judged
from onnxprune.measure.summaries import proof_summary, remarks, summary_of
from onnxprune.model.load import Model
from onnxprune.proof.masked import Feed, check_runs, check_shapes, prove
from onnxprune.proof.unproven import require_told
from onnxprune.quantizing.publish import publish_quantized
from onnxprune.results import Fidelity, ModelSummary, ProofSummary
from onnxprune.results.quantization import QuantizationSummary
from onnxprune.results.sparse import SparsitySummary
from onnxprune.shrinking.planning import Choice
from onnxprune.sparsifying.publish import SparsePublished, publish_sparse
from onnxprune.sparsifying.stage import Sparsified
from onnxprune.trace import trace_again


@dataclass(frozen=True)
class CompressedPublished:
    """What was written, and what was shown of it."""

    plan: Plan
    after: ModelSummary
    written: tuple[Path, ...]
    model: Model
    proof: ProofSummary | None = None
    quantization: QuantizationSummary | None = None
    sparsity: SparsitySummary | None = None
    fidelity: Fidelity | None = None
    notes: tuple[str, ...] = ()


def publish_compressed(task: Task, taken: Candidate, *, allow_unproven: bool, seed: int) -> CompressedPublished:
    """Raises an OnnxPruneError; then nothing is written."""
    made = None if taken.zeros is None else taken.zeros.made
    plan = task.plan(taken.choice, taken.integers, made)
    recorded = record(taken.model, task.original, plan)
    proof: ProofSummary | None = None
    feed: Feed = {}
    if taken.choice is not None:
        proof, feed = _cut_proven(task, taken.choice, allow_unproven, seed)
    if made is not None:
        done = _zeros(task, taken, recorded, made, allow_unproven, seed)
        return CompressedPublished(
            plan, done.after, done.written, recorded, proof, None, done.sparsity, done.fidelity, done.notes
        )
    if taken.integers is None:
        assert proof is not None
        return replace(_floats(task, recorded, plan, proof, feed), proof=proof)
    traced = task.traced
    if taken.choice is not None:
        traced = trace_again(taken.floats, taken.choice.traced)
    shown = publish_quantized(
        traced,
        recorded,
        taken.integers,
        task.place,
        task.samples,
        task.clock,
        original=task.original,
        gate=task.gate,
        limits=task.request.limits,
        allow_unproven=allow_unproven,
        seed=seed,
        threads=task.on_cpu,
    )
    return CompressedPublished(
        plan, shown.after, shown.written, recorded, proof, shown.quantization, None, shown.fidelity, shown.notes
    )


def _cut_proven(task: Task, choice: Choice, allow_unproven: bool, seed: int) -> tuple[ProofSummary, Feed]:
    """The network minus what leaves, before any weight was changed."""
    check_shapes(choice.traced, choice.smaller, planned_shapes(choice.traced, choice.keep))
    few = task.samples.few(task.original)
    task.clock.start("write")
    with task.place.staged(record(choice.smaller, task.original, choice.plan)) as staged:
        task.clock.start("verify")
        shown = prove(choice.traced, choice.keep, staged.path, samples=few, seed=seed, threads=task.on_cpu)
    require_told(shown.untold, choice.traced, allowed=allow_unproven, with_samples=True)
    return proof_summary(shown), shown.feed


def _zeros(
    task: Task, taken: Candidate, recorded: Model, made: Sparsified, allow_unproven: bool, seed: int
) -> SparsePublished:
    """A result with zeros, of the original or of a cut, whose layers are of floats."""
    choice = taken.choice
    bare = task.original if choice is None else record(choice.smaller, task.original, choice.plan)
    return publish_sparse(
        task.traced if choice is None else choice.traced,
        bare,
        recorded,
        made,
        task.place,
        task.samples,
        task.clock,
        gate=task.gate,
        require=task.request.limits.require,
        allow_unproven=allow_unproven,
        seed=seed,
        threads=task.on_cpu,
    )


def _floats(task: Task, recorded: Model, plan: Plan, proof: ProofSummary, feed: Feed) -> CompressedPublished:
    """A result without integers."""
    task.clock.start("write")
    with task.place.staged(recorded) as staged:
        task.clock.start("verify")
        check_runs(staged.path, refused=proof.refused, feed=feed, threads=task.on_cpu)
        measured = judged(task.original, staged.path, task.samples, task.gate, task.clock, task.on_cpu)
        task.request.limits.require(measured)
        task.clock.start("write")
        written = staged.commit()
    after = summary_of(recorded, task.place.target, task.traced.facts)
    return CompressedPublished(
        plan, after, written, recorded, fidelity=measured, notes=remarks(staged.left_over, recorded)
    )
