"""Write a network with sparse weights beside its target, prove it, measure it, and rename it: all or nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from onnxprune.capture.samples import Samples
from onnxprune.measure.gate import Gate
from onnxprune.measure.held_out import judged
from onnxprune.measure.summaries import all_executed, proof_summary, remarks, summary_of
from onnxprune.model.load import Model, load
from onnxprune.model.sources import Place
from onnxprune.proof.sparse import prove_sparse
from onnxprune.proof.unproven import require_told
from onnxprune.results import Fidelity, ModelSummary
from onnxprune.results.clock import Clock
from onnxprune.results.sparse import SparsitySummary
from onnxprune.sparsifying.compare import compare_sparse
from onnxprune.sparsifying.stage import Sparsified
from onnxprune.trace.groups import Trace


@dataclass(frozen=True)
class SparsePublished:
    """What was written, and what was shown of it."""

    sparsity: SparsitySummary
    fidelity: Fidelity | None
    written: tuple[Path, ...]
    after: ModelSummary
    notes: tuple[str, ...] = ()
    model: Model | None = None


def publish_sparse(
    traced: Trace,
    bare: Model,
    recorded: Model,
    made: Sparsified,
    place: Place,
    samples: Samples | None,
    clock: Clock,
    *,
    gate: Gate | None = None,
    require: Callable[[Fidelity | None], None] | None = None,
    verify: bool = True,
    allow_unproven: bool = False,
    seed: int = 0,
    threads: int = 0,
) -> SparsePublished:
    """Prove the file of `recorded`, which is `made` with its provenance, and rename it. Raises an OnnxPruneError; then
    nothing is written.

    `require` raises GateError for a result that is too far from the original. `allow_unproven`: also where the proof
    could not have failed.
    traced: of the original; bare: what is left of it after a cut, before any repair.
    """
    assert made.plan is not None
    outcome = made.summary
    clock.start("write")
    with place.staged(recorded) as staged:
        if verify:
            clock.start("verify")
            compare_sparse(bare, load(staged.path).inlined(), made.plan)
            names = made.weights
            few = None if samples is None else samples.few(traced.graph.model)
            shown = prove_sparse(traced, names, made.twin, names, staged.path, samples=few, seed=seed, threads=threads)
            untold = shown.proof.untold
            require_told(untold, traced, allowed=allow_unproven, with_samples=few is not None)
            outcome = replace(outcome, proof=proof_summary(shown.proof), runs=shown.runs)
        measured = judged(traced.graph.model, staged.path, samples, gate, clock, threads)
        if require is not None:
            require(measured)
        clock.start("write")
        written = staged.commit()
    after = summary_of(recorded, place.target, traced.facts)
    if outcome.library is not None:
        after = all_executed(after, summary_of(bare, None, traced.facts))
    return SparsePublished(outcome, measured, written, after, remarks(staged.left_over, recorded), recorded)
