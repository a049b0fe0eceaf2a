"""Write beside the target, prove, repair, check again, measure, and rename into place: all or nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from onnxprune.cut import planned_shapes
from onnxprune.cut.plan import Plan
from onnxprune.cut.provenance import record
from onnxprune.measure.held_out import judged
from onnxprune.measure.summaries import proof_summary, remarks, summary, summary_of
from onnxprune.model.graph import build
from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.model.save import Staged
from onnxprune.proof.masked import Feed, Proof, check_runs, check_shapes, prove
from onnxprune.proof.unproven import require_told
from onnxprune.results import Fidelity, ModelSummary, ProofSummary, RepairSummary
from onnxprune.results.sparse import SparsitySummary
from onnxprune.shrinking.planning import Choice, Run, mended_cut, sparsified_cut
from onnxprune.sparsifying.publish import publish_sparse
from onnxprune.sparsifying.request import SparseRequest
from onnxprune.trace import Trace


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
    notes: tuple[str, ...] = ()
    model: Model | None = None


def publish(run: Run, choice: Choice, *, verify: bool = True, allow_unproven: bool = False) -> Published:
    """Prove the bare cut, repair it, run the repaired file, rename it. Raises an OnnxPruneError; nothing is written.

    `allow_unproven`: also where the proof could not have failed.
    """
    traced, keep, clock = choice.traced, choice.keep, run.clock
    facts = check_shapes(traced, choice.smaller, planned_shapes(traced, keep))
    recorded = record(choice.smaller, traced.graph.model, choice.plan)
    proof, zeros = None, None
    feed: Feed = {}
    seed, samples = run.request.options.seed, None if run.samples is None else run.samples.few(traced.graph.model)
    if verify and not keep.all():
        clock.start("write")
        with run.place.staged(recorded) as staged:
            clock.start("verify")
            shown = prove(traced, keep, staged.path, samples=samples, seed=seed, threads=run.on_cpu)
            require_told(shown.untold, traced, allowed=allow_unproven, with_samples=samples is not None)
            proof, feed = proof_summary(shown), shown.feed
            repaired, fixed = mended_cut(run, choice, recorded)
            if repaired is recorded and run.sparse is None:
                return replace(_committed(run, choice, recorded, staged, facts), proof=proof, repair=fixed)
    else:
        repaired, fixed = mended_cut(run, choice, recorded)
    if run.sparse is not None:
        found = _with_zeros(run, choice, recorded, repaired, run.sparse, verify, allow_unproven)
        if found.written or keep.all():
            return replace(found, proof=proof, repair=fixed)
        zeros = found.sparsity
    clock.start("write")
    with run.place.staged(repaired) as staged:
        if proof is not None:
            clock.start("verify")
            check_runs(staged.path, refused=proof.refused, feed=feed, threads=run.on_cpu)
        done = _committed(run, choice, repaired, staged, facts)
    return replace(done, proof=proof, repair=fixed, sparsity=zeros)


def _committed(run: Run, choice: Choice, model: Model, staged: Staged, facts: Facts) -> Published:
    """`model`, which is staged, measured and renamed to its target."""
    original = choice.traced.graph.model
    measured = judged(original, staged.path, run.samples, run.gate, run.clock, run.on_cpu)
    run.clock.start("write")
    written = staged.commit()
    after = summary(model, build(model), facts, run.place.target.name)
    return Published(
        None, None, measured, written, after, choice.plan, notes=remarks(staged.left_over, model), model=model
    )


def _with_zeros(
    run: Run,
    choice: Choice,
    bare: Model,
    repaired: Model,
    request: SparseRequest,
    verify: bool,
    allow_unproven: bool,
) -> Published:
    """The repaired network with sparse weights, written; or, if no layer can be sparse, not."""
    made = sparsified_cut(run, choice, repaired, request)
    if made.plan is None:
        return Published(None, None, None, (), summary_of(repaired, run.place.target), choice.plan, made.summary)
    asked = request.recorded(None if run.samples is None else run.samples.count)
    plan = replace(choice.plan, options={**choice.plan.options, "sparsity": asked}, sparsity=made.plan)
    done = publish_sparse(
        choice.traced,
        bare,
        record(made.model, choice.traced.graph.model, plan),
        made,
        run.place,
        run.samples,
        run.clock,
        gate=run.gate,
        verify=verify,
        allow_unproven=allow_unproven,
        seed=run.request.options.seed,
        threads=run.on_cpu,
    )
    return Published(None, None, done.fidelity, done.written, done.after, plan, done.sparsity, done.notes, done.model)


def prove_in_memory(
    traced: Trace,
    keep: NDArray[np.bool_],
    model: Model,
    *,
    samples: Feed | None = None,
    seed: int = 0,
    threads: int = 0,
) -> Proof:
    """The proof for a model that is not on disk."""
    with (
        tempfile.TemporaryDirectory(prefix="onnxprune-") as folder,
        Staged(model, Path(folder) / "candidate.onnx") as staged,
    ):
        return prove(traced, keep, staged.path, samples=samples, seed=seed, threads=threads)
