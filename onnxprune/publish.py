"""Write beside the target, prove, repair, check again, measure, and rename into place: all or nothing."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.clock import Clock
from onnxprune.cut import planned_shapes
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.gate import Gate
from onnxprune.mend import Stage, mended
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.save import Staged
from onnxprune.plan import Plan
from onnxprune.proof.masked import Proof, check_runs, check_shapes, prove
from onnxprune.provenance import record
from onnxprune.results import Fidelity, ModelSummary, ProofSummary, RepairSummary
from onnxprune.samples import Samples
from onnxprune.summaries import proof_summary, summary
from onnxprune.trace import Trace


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


def publish(
    traced: Trace, keep: NDArray[np.bool_], smaller: Model, planned: Plan, how: Publication, clock: Clock
) -> Published:
    """Prove the bare cut, repair it, run the repaired file, rename it. Raises an OnnxPruneError; nothing is written."""
    facts = check_shapes(traced, smaller, planned_shapes(traced, keep))
    recorded = record(smaller, traced.graph.model, planned)
    proof = None
    if how.verify:
        clock.start("write")
        with how.staged(recorded) as staged:
            clock.start("verify")
            proof = proof_summary(prove(traced, keep, staged.path, seed=how.seed, threads=how.threads))
            repaired, fixed = _mended(traced, keep, recorded, how, clock)
            if repaired is recorded:
                measured = _measured(traced, staged.path, how, clock)
                clock.start("write")
                written = staged.commit()
                after = summary(recorded, build(recorded), facts, how.target.name)
                return Published(proof, fixed, measured, written, after)
    else:
        repaired, fixed = _mended(traced, keep, recorded, how, clock)
    clock.start("write")
    with how.staged(repaired) as staged:
        if proof is not None:
            clock.start("verify")
            check_runs(traced, staged.path, checker=proof.checker_ok, seed=how.seed, threads=how.threads)
        measured = _measured(traced, staged.path, how, clock)
        clock.start("write")
        written = staged.commit()
    return Published(proof, fixed, measured, written, summary(repaired, build(repaired), facts, how.target.name))


def _measured(traced: Trace, candidate: Path, how: Publication, clock: Clock) -> Fidelity | None:
    """The candidate against the original: by the user's metric, and on the samples that are held out."""
    if how.gate is not None:
        clock.start("measure")
        how.gate.check(candidate)
    if how.samples is None:
        return None
    clock.start("measure")
    batches = how.samples.batches[-how.samples.held_out :]
    return fidelity(traced.graph.model, candidate, batches, threads=how.threads, progress=clock.steps())


def _mended(
    traced: Trace, keep: NDArray[np.bool_], recorded: Model, how: Publication, clock: Clock
) -> tuple[Model, RepairSummary | None]:
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
