"""Write beside the target, prove, repair, check again, measure, and rename into place: all or nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.clock import Clock
from onnxprune.cut import planned_shapes
from onnxprune.measure.gate import Gate
from onnxprune.measure.held_out import judged
from onnxprune.mend import Stage, mended
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.save import Staged
from onnxprune.plan import Plan
from onnxprune.proof.masked import Proof, check_runs, check_shapes, prove
from onnxprune.provenance import record
from onnxprune.results import Fidelity, ModelSummary, ProofSummary, RepairSummary
from onnxprune.samples import Samples
from onnxprune.sparse_results import SparsitySummary
from onnxprune.sparsity.publish import Place, publish_sparse
from onnxprune.sparsity.request import SparseRequest
from onnxprune.sparsity.stage import sparsified
from onnxprune.summaries import proof_summary, summary, summary_of
from onnxprune.trace import Trace, trace_model


@dataclass(frozen=True)
class Publication:
    """How a result is made and written. `protected` files are never replaced.

    `repair` is none, bias, merge, or, if there are samples, scale-shift, least-squares or reconstruct.
    """

    target: Path
    protected: tuple[Path, ...]
    repair: str
    samples: Samples | None
    verify: bool
    force: bool
    external_data: Any
    seed: int
    threads: int
    gate: Gate | None = None
    stage: Stage | None = None
    """of a removal in steps, the last"""
    sparse: SparseRequest | None = None
    """weights become sparse after the repair"""

    def staged(self, model: Model) -> Staged:
        """`model` in a file beside the target."""
        return Staged(model, self.target, external_data=self.external_data, force=self.force, inputs=self.protected)


@dataclass(frozen=True)
class Published:
    """What was written, and what was shown of it."""

    proof: ProofSummary | None
    repair: RepairSummary | None
    fidelity: Fidelity | None
    written: tuple[Path, ...]
    after: ModelSummary
    plan: Plan
    sparsity: SparsitySummary | None = None


def publish(
    traced: Trace, keep: NDArray[np.bool_], smaller: Model, planned: Plan, how: Publication, clock: Clock
) -> Published:
    """Prove the bare cut, repair it, run the repaired file, rename it. Raises an OnnxPruneError; nothing is written."""
    facts = check_shapes(traced, smaller, planned_shapes(traced, keep))
    recorded = record(smaller, traced.graph.model, planned)
    proof = None
    if how.verify and not keep.all():
        clock.start("write")
        with how.staged(recorded) as staged:
            clock.start("verify")
            proof = proof_summary(prove(traced, keep, staged.path, seed=how.seed, threads=how.threads))
            repaired, fixed = _mended(traced, keep, recorded, how, clock)
            if repaired is recorded and how.sparse is None:
                measured = judged(traced.graph.model, staged.path, how.samples, how.gate, clock, how.threads)
                clock.start("write")
                written = staged.commit()
                after = summary(recorded, build(recorded), facts, how.target.name)
                return Published(proof, fixed, measured, written, after, planned)
    else:
        repaired, fixed = _mended(traced, keep, recorded, how, clock)
    zeros = None
    if how.sparse is not None:
        found = _with_zeros(traced, keep, recorded, repaired, planned, how, clock)
        if found.written or keep.all():
            return replace(found, proof=proof, repair=fixed)
        zeros = found.sparsity
    clock.start("write")
    with how.staged(repaired) as staged:
        if proof is not None:
            clock.start("verify")
            check_runs(traced, staged.path, checker=proof.checker_ok, seed=how.seed, threads=how.threads)
        measured = judged(traced.graph.model, staged.path, how.samples, how.gate, clock, how.threads)
        clock.start("write")
        written = staged.commit()
    after = summary(repaired, build(repaired), facts, how.target.name)
    return Published(proof, fixed, measured, written, after, planned, zeros)


def _with_zeros(
    traced: Trace, keep: NDArray[np.bool_], bare: Model, repaired: Model, planned: Plan, how: Publication, clock: Clock
) -> Published:
    """The repaired network with sparse weights, written; or, if no layer can be sparse, not."""
    assert how.sparse is not None
    clock.start("trace")
    later = trace_model(repaired)
    made = sparsified(later, how.sparse, how.samples, clock, whole=(traced, keep), threads=how.threads)
    if made.plan is None:
        return Published(None, None, None, (), summary_of(repaired, how.target), planned, made.summary)
    asked = how.sparse.recorded(None if how.samples is None else how.samples.count)
    plan = replace(planned, options={**planned.options, "sparsity": asked}, sparsity=made.plan)
    done = publish_sparse(
        traced,
        bare,
        record(made.model, traced.graph.model, plan),
        made,
        Place(how.target, how.protected, how.force, how.external_data),
        how.samples,
        clock,
        gate=how.gate,
        verify=how.verify,
        seed=how.seed,
        threads=how.threads,
    )
    return Published(None, None, done.fidelity, done.written, done.after, plan, done.sparsity)


def _mended(
    traced: Trace, keep: NDArray[np.bool_], recorded: Model, how: Publication, clock: Clock
) -> tuple[Model, RepairSummary | None]:
    if keep.all():
        return recorded, None
    clock.start("repair")
    steps = clock.steps("rebuild")
    return mended(
        traced, keep, recorded, how.repair, how.samples, how.stage, seed=how.seed, threads=how.threads, progress=steps
    )


def prove_in_memory(traced: Trace, keep: NDArray[np.bool_], model: Model, *, seed: int = 0, threads: int = 0) -> Proof:
    """The proof for a model that is not on disk."""
    with (
        tempfile.TemporaryDirectory(prefix="onnxprune-") as folder,
        Staged(model, Path(folder) / "candidate.onnx") as staged,
    ):
        return prove(traced, keep, staged.path, seed=seed, threads=threads)
