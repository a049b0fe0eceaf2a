"""Proof of a file with sparse weights: it computes what the dense model with the same zeros does.

The file runs without the library, by the functions in it, and with the library where that is there; both must agree
with the dense model, and not with one whose weights are in the wrong rows.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto

from onnxprune import native
from onnxprune.capture.operators import Operators, operators_of
from onnxprune.errors import VerificationError
from onnxprune.model.load import Model, load
from onnxprune.model.save import write
from onnxprune.native.marks import DOMAIN
from onnxprune.proof.checker import file_of
from onnxprune.proof.discontinuous import before_discontinuities, behind_discontinuities
from onnxprune.proof.inputs import Case
from onnxprune.proof.judge import Proof, judge
from onnxprune.proof.masked import LARGE_BYTES, Feed, leading_to, on_cases, save, scratch, tolerant, with_outputs
from onnxprune.proof.signature import same_signature
from onnxprune.proof.tasks import run_tasks
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
    same_signature(trace.graph.model.proto, candidate, added=DOMAIN)
    kind = operators_of(candidate)
    if kind is Operators.FOREIGN:
        raise VerificationError(f"the file has functions of the domain {DOMAIN} that onnxprune did not write")
    changed = {node.index for node in trace.graph.nodes if set(node.inputs) & set(named)}
    both = _values(twin.proto) & _values(load(candidate).proto)
    extra = [key for key in before_discontinuities(trace, changed) if key in both]
    runs = [False, True] if kind is Operators.LIBRARY else [False]
    wrong = _misplaced(twin, weights)

    def proven(extra: list[str]) -> Proof:
        behind = behind_discontinuities(trace, changed) if extra else set()
        work = _Work(trace, twin, wrong, candidate, extra, behind, runs, threads)
        return on_cases(trace, seed, samples, lambda feeds: tolerant(lambda optimise: work.run(feeds, optimise)))

    proof = proven(extra)
    if more := [key for name in proof.unseen for key in leading_to(trace, name) if key in both]:
        proof = proven(list(dict.fromkeys([*extra, *more])))
    return SparseProof(proof, tuple(_words(kind, library) for library in runs))


def _words(kind: Operators, library: bool) -> str:
    if kind is Operators.NONE:
        return "in dense operators"
    return f"with it ({native.instruction_set()})" if library else "without the library"


def _values(proto: ModelProto) -> set[str]:
    return {name for node in proto.graph.node for name in node.output if name}


def _misplaced(twin: Model, weights: Collection[str]) -> Model:
    """The twin with the rows of its sparse weights moved by one: what reading them wrongly would give."""
    wrong = {
        name: tensor.with_array(np.roll(tensor.array(), 1, axis=0)) if name in weights else tensor
        for name, tensor in twin.tensors.items()
    }
    proto = ModelProto()
    proto.CopyFrom(twin.proto)
    return twin.replace(proto, wrong)


@dataclass(frozen=True)
class _Work:
    trace: Trace
    twin: Model
    wrong: Model
    candidate: Path
    extra: list[str]
    behind: set[str]
    runs: list[bool]
    threads: int

    def run(self, feeds: Sequence[Case], optimise: bool) -> Proof:
        with scratch() as here:
            write(self.twin, here / "twin.onnx", external_data="always")
            write(self.wrong, here / "wrong.onnx", external_data="always")
            paths = {"twin": here / "twin.onnx", "wrong": here / "wrong.onnx", "candidate": self.candidate}
            if self.extra:
                paths = {
                    name: with_outputs(self.trace, path, self.extra, here / f"{name}.extra.onnx")
                    for name, path in paths.items()
                }
            files = [save(here / f"feed{k}.npz", case.feed) for k, case in enumerate(feeds)]
            common = {"feeds": files, "optimise": optimise, "frugal": self.twin.size_bytes > LARGE_BYTES}
            original = file_of(self.trace.graph.model, here / "original.onnx")
            tasks: list[dict[str, Any]] = [
                {**common, "model": str(paths["twin"]), "check": str(original)},
                {**common, "model": str(paths["wrong"]), "feeds": files[:1]},
                *(
                    {**common, "model": str(paths["candidate"]), "check": str(self.candidate), "library": library}
                    for library in self.runs
                ),
            ]
            for number, task in enumerate(tasks):
                task["name"], task["out"] = f"run{number}", str(here / f"run{number}")
            twin, wrong, *found = run_tasks(here, tasks, self.threads)
            return self._judged(feeds, twin, wrong, found)

    def _judged(self, feeds: Sequence[Case], twin: dict[str, Any], wrong: dict[str, Any], found: list[Any]) -> Proof:
        if "load" not in twin:
            misplaced = wrong["cases"][0] if wrong["cases"] else {"error": wrong.get("load", "")}
            twin = {**twin, "cases": [*twin["cases"], misplaced]}
        keep = np.ones(self.trace.unit_count, bool)
        proofs = [judge(self.trace, keep, feeds, twin, one, self.behind, REFERENCE) for one in found]
        comparisons = tuple(item for proof in proofs for item in proof.comparisons)
        notes = tuple(dict.fromkeys(note for proof in proofs for note in proof.notes))
        return replace(
            proofs[0],
            comparisons=comparisons,
            sensitive=all(proof.sensitive for proof in proofs),
            notes=notes,
            refused=tuple(dict.fromkeys(name for proof in proofs for name in proof.refused)),
        )
