"""Proof of a file with sparse weights: it computes what the dense model with the same zeros does.

The file runs without the library, by the functions in it, and with the library where that is there; both must agree
with the dense model, and not with one whose weights are in the wrong rows, whichever weight that is.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnxprune import native
from onnxprune.capture.operators import Operators, operators_of
from onnxprune.errors import VerificationError
from onnxprune.model.load import Model, load
from onnxprune.native.marks import DOMAIN
from onnxprune.proof.attempts import Inputs
from onnxprune.proof.discontinuous import jumps
from onnxprune.proof.judge import Proof
from onnxprune.proof.pair import Pair
from onnxprune.proof.rounds import established
from onnxprune.proof.scratch import Feed
from onnxprune.proof.signature import same_signature
from onnxprune.proof.wrong import Bundle
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
    runs = (False, True) if kind is Operators.LIBRARY else (False,)
    # zeros in the wrong rows are no zeros less
    parts = tuple(name for name in weights if twin.tensors[name].array().any())

    def wrong(bundle: Bundle, strong: bool) -> Feed:
        return {name: _misplaced(twin.tensors[name].array(), strong) for name in bundle}

    pair = Pair(
        trace,
        np.ones(trace.unit_count, bool),
        parts,
        _open(twin, parts),
        {},
        wrong,
        candidate,
        jumps(trace, changed),
        REFERENCE,
        runs,
        roundable=False,
        threads=threads,
    )
    proof = established(pair, Inputs(trace, seed, samples), lambda key: key in both)
    return SparseProof(proof, tuple(_words(kind, library) for library in runs))


def _words(kind: Operators, library: bool) -> str:
    if kind is Operators.NONE:
        return "in dense operators"
    return f"with it ({native.instruction_set()})" if library else "without the library"


def _values(proto: ModelProto) -> set[str]:
    return {name for node in proto.graph.node for name in node.output if name}


def _open(model: Model, weights: Collection[str]) -> Model:
    """The model in which these weights may be fed instead."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    proto.ir_version = max(proto.ir_version, 4)  # before that, what is fed in place of an initializer is refused
    there = {value.name for value in proto.graph.input}
    for name in weights:
        if name not in there:
            tensor = model.tensors[name]
            proto.graph.input.append(helper.make_tensor_value_info(name, tensor.dtype, list(tensor.shape)))
    return model.replace(proto, model.tensors)


def _misplaced(weight: NDArray[Any], strong: bool) -> NDArray[Any]:
    """Rows moved by one: what reading them wrongly would give. `strong`, or if all rows are equal: all of its numbers
    in reverse, and if that is the same, zeros.
    """
    wrong = [np.roll(weight, 1, axis=0)] if weight.ndim and not strong else []
    wrong += [weight.ravel()[::-1].reshape(weight.shape), np.zeros_like(weight)]
    return next(array for array in wrong if not np.array_equal(array, weight))
