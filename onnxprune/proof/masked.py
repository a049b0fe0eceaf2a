"""Masked equivalence: the cut model must compute what the masked original computes; and the proof must be able to fail.

Compared are all outputs. Where outputs lie behind discontinuous operators (sorting, rounding, comparisons), a
difference in the last bit may change them at will, so the values before them are compared as well, and what comes
behind is given the same decisions in both. Where a quantised network rounds so that single steps become many, both are
compared once more without that rounding.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.capture.operators import missing
from onnxprune.errors import VerificationError
from onnxprune.proof.attempts import Inputs
from onnxprune.proof.discontinuous import jumps
from onnxprune.proof.judge import Proof
from onnxprune.proof.onnx_checks import require
from onnxprune.proof.pair import Pair
from onnxprune.proof.rounds import FUSED, ROUNDED, established
from onnxprune.proof.scratch import Feed, save, scratch
from onnxprune.proof.signature import check_shapes, same_signature
from onnxprune.proof.tasks import run_tasks
from onnxprune.proof.wrong import Bundle, Mutations, mutated, parts
from onnxprune.trace.groups import Trace
from onnxprune.trace.reference import build_reference

__all__ = ["FUSED", "ROUNDED", "Feed", "Proof", "check_runs", "check_shapes", "mutated", "prove"]

Bools = NDArray[np.bool_]


def prove(
    trace: Trace, keep: Bools, candidate: Path, *, samples: Feed | None = None, seed: int = 0, threads: int = 0
) -> Proof:
    """Compare the model at `candidate` with the masked original on random inputs, and on `samples` if there are any.

    Raises VerificationError, ModelError.
    """
    same_signature(trace.graph.model, candidate)
    lost = trace.lost_values(keep)
    masked = build_reference(trace)

    changed = Mutations(trace, keep)

    def wrong(bundle: Bundle, strong: bool) -> Feed:
        return masked.feed(changed(bundle, strong=strong), keep)

    pair = Pair(
        trace,
        keep,
        parts(trace, keep),
        masked.model,
        masked.feed(keep),
        wrong,
        candidate,
        jumps(trace),
        threads=threads,
    )
    proof = established(pair, Inputs(trace, seed, samples), lambda key: key not in lost)
    note = missing("the model", trace.graph.model.proto)
    return replace(proof, notes=(*proof.notes, note)) if note else proof


def check_runs(
    candidate: Path,
    *,
    refused: Collection[str],
    feed: Feed,
    threads: int = 0,
) -> None:
    """A repaired model must load and run on `feed`, which the bare cut was proven on. Only the checks in `refused`,
    which refuse the original, may refuse it.
    """
    with scratch() as here:
        task = {"name": "repaired", "model": str(candidate), "feeds": [save(here / "feed", feed)]}
        result = run_tasks(here, [{**task, "check": str(candidate), "out": str(here / "out")}], threads)[0]
    require("the repaired model", result["refused"], dict.fromkeys(refused, ""))
    if failure := _failure(result):
        raise VerificationError(f"ONNX Runtime cannot run the repaired model: {failure}")


def _failure(result: Mapping[str, Any]) -> str | None:
    failure: str | None = result.get("load") or result["cases"][0].get("error")
    return failure
