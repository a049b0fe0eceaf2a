"""The proof of grids for a file of either form."""

from __future__ import annotations

from pathlib import Path

from onnxprune.model.load import Model, load
from onnxprune.proof.grids.prove import GridProof, prove_grids
from onnxprune.proof.scratch import Feed
from onnxprune.quantizing.qoperator.back import with_quantisers
from onnxprune.quantizing.request import QOPERATOR
from onnxprune.results.plan import QuantizationPlan
from onnxprune.trace.groups import Trace


def prove_form(
    trace: Trace,
    prepared: Model,
    candidate: Path,
    plan: QuantizationPlan,
    form: str,
    *,
    samples: Feed | None = None,
    seed: int = 0,
    threads: int = 0,
) -> GridProof:
    """See `prove_grids`; what is compared with the original are the integers of the file as it is."""
    quantisers = with_quantisers(load(candidate)) if form == QOPERATOR else None
    return prove_grids(
        trace, prepared, candidate, plan, quantisers=quantisers, samples=samples, seed=seed, threads=threads
    )
