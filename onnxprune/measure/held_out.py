"""A result against its original, before it is published: by the user's metric, and on the samples that are held out."""

from __future__ import annotations

from pathlib import Path

from onnxprune.capture.samples import Samples
from onnxprune.measure.fidelity import fidelity
from onnxprune.measure.gate import Gate
from onnxprune.model.load import Model
from onnxprune.results import Fidelity
from onnxprune.results.clock import Clock


def judged(
    original: Model, candidate: Path, samples: Samples | None, gate: Gate | None, clock: Clock, threads: int
) -> Fidelity | None:
    """How far the candidate does what the original does; None without samples. Raises GateError if it fails."""
    if gate is not None:
        clock.start("measure")
        gate.check(candidate)
    if samples is None:
        return None
    clock.start("measure")
    batches = samples.batches[-samples.held_out :]
    return fidelity(original, candidate, batches, threads=threads, progress=clock.steps())
