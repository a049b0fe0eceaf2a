"""Proof of a file with sparse weights: it computes what the dense model with the same zeros does.

The file runs without the library, by the functions in it, and with the library where that is there; both must agree
with the dense model, and not with one whose weights are in the wrong rows, whichever weight that is.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from onnxprune import native
from onnxprune.capture.operators import Operators, operators_of
from onnxprune.errors import VerificationError
from onnxprune.model.load import Model
from onnxprune.native.marks import DOMAIN
from onnxprune.proof.judge import Proof
from onnxprune.proof.scratch import Feed
from onnxprune.proof.signature import same_signature
from onnxprune.proof.twin import Twin, prove_twin
from onnxprune.trace.groups import Trace

REFERENCE = "the dense model with the same zeros"


@dataclass(frozen=True)
class SparseProof:
    """What was shown, in words for `runs`: without the library, and with it where it is there."""

    proof: Proof
    runs: tuple[str, ...]


def prove_sparse(
    trace: Trace,
    named: Collection[str],
    twin: Model,
    weights: Collection[str],
    candidate: Path,
    *,
    samples: Feed | None = None,
    seed: int = 0,
    threads: int = 0,
) -> SparseProof:
    """Compare the file at `candidate` with `twin`, the dense model that has the same zeros in its `weights`.

    `trace` is that of the original, which has the same inputs and outputs; there these weights are `named` so.
    `samples`: what to compare on besides random inputs.
    Raises VerificationError, ModelError.
    """
    candidate = Path(os.path.abspath(candidate))  # the models run elsewhere
    same_signature(trace.graph.model, candidate, added=DOMAIN)
    kind = operators_of(candidate)
    if kind is Operators.FOREIGN:
        raise VerificationError(f"the file has functions of the domain {DOMAIN} that onnxprune did not write")
    runs = (False, True) if kind is Operators.LIBRARY else (False,)
    twins = Twin(trace, tuple(named), twin, tuple(weights), candidate, REFERENCE, runs)
    proof = prove_twin(twins, samples=samples, seed=seed, threads=threads)
    return SparseProof(proof, tuple(_words(kind, library) for library in runs))


def _words(kind: Operators, library: bool) -> str:
    if kind is Operators.NONE:
        return "in dense operators"
    return f"with it ({native.instruction_set()})" if library else "without the library"
