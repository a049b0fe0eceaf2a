"""Write a quantised network beside its target, prove it, look at how it runs, and rename it: all or nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from onnxprune.capture.samples import Samples
from onnxprune.errors import VerificationError
from onnxprune.measure.gate import Gate
from onnxprune.measure.held_out import judged
from onnxprune.measure.summaries import proof_summary, remarks, summary_of
from onnxprune.model.load import Model
from onnxprune.model.sources import Place
from onnxprune.proof.grids.prove import GridProof
from onnxprune.proof.grids.weights import prove_weights
from onnxprune.proof.unproven import require_told
from onnxprune.quantizing.executed import executed
from onnxprune.quantizing.limits import Limits
from onnxprune.quantizing.qoperator.prove import prove_form
from onnxprune.quantizing.request import QDQ
from onnxprune.quantizing.stage import Quantized
from onnxprune.results import Fidelity, ModelSummary
from onnxprune.results.clock import Clock
from onnxprune.results.quantization import GridSummary, OutputSummary, QuantizationSummary
from onnxprune.trace.groups import Trace

NEAREST = 0.51
"""Steps by which rounding to the nearest moves a weight at most; more is another weight."""


@dataclass(frozen=True)
class QuantizedPublished:
    """What was written, and what was shown of it."""

    quantization: QuantizationSummary
    fidelity: Fidelity | None
    written: tuple[Path, ...]
    after: ModelSummary
    notes: tuple[str, ...] = ()
    model: Model | None = None


def publish_quantized(
    traced: Trace,
    recorded: Model,
    made: Quantized,
    place: Place,
    samples: Samples | None,
    clock: Clock,
    *,
    original: Model | None = None,
    gate: Gate | None = None,
    limits: Limits | None = None,
    allow_unproven: bool = False,
    seed: int = 0,
    threads: int = 0,
) -> QuantizedPublished:
    """Prove the file of `recorded`, which is `made` with its provenance, and rename it. Raises an OnnxPruneError; then
    nothing is written.

    `original`: what the file is compared with, if `traced` is a network that was cut from it. `allow_unproven`: also
    where the proof could not have failed.
    """
    assert made.plan is not None
    clock.start("write")
    with place.staged(recorded) as staged:
        clock.start("verify")
        few = None if samples is None else samples.few(traced.graph.model)
        outcome = replace(made.summary, executed=executed(staged.path, made.graph, made.layers))
        if made.twin is None:
            form = outcome.form or QDQ
            found = prove_form(
                traced, made.graph.model, staged.path, made.plan, form, samples=few, seed=seed, threads=threads
            )
            _require_nearest(found, outcome)
            outcome = replace(outcome, proof=grid_summary(found))
        else:
            names = [layer.weight for layer in outcome.layers if layer.quantized and layer.weight is not None]
            shown = prove_weights(traced, made.twin, names, staged.path, samples=few, seed=seed, threads=threads)
            require_told(shown.untold, traced, allowed=allow_unproven, with_samples=few is not None)
            outcome = replace(outcome, equality=proof_summary(shown))
        measured = judged(original or traced.graph.model, staged.path, samples, gate, clock, threads)
        if limits is not None:
            limits.require(measured)
        clock.start("write")
        written = staged.commit()
    after = summary_of(recorded, place.target, traced.facts)
    return QuantizedPublished(outcome, measured, written, after, remarks(staged.left_over, recorded), recorded)


def _require_nearest(found: GridProof, outcome: QuantizationSummary) -> None:
    """Raise VerificationError for a weight that is not the nearest to the original's although none was refitted."""
    if outcome.reconstruction is None or not outcome.reconstruction.steps:
        name, steps = max(found.moved.items(), key=lambda item: item[1], default=("", 0.0))
        if steps > NEAREST:
            raise VerificationError(f"weight {name!r} is {steps:.3g} steps from the original's, and was not refitted")


def grid_summary(shown: GridProof) -> GridSummary:
    """As a result has it."""
    most = max(shown.moved.values(), default=0.0)
    counts = shown.values, shown.integers, shown.differing, shown.most
    outputs = None if shown.outputs is None else OutputSummary(**vars(shown.outputs))
    return GridSummary(*counts, most, shown.cases, shown.untold, shown.refused, outputs)
