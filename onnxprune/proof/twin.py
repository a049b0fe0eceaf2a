"""Proof that a file computes what a dense float model with the same weights does, however it stores them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper

from onnxprune.model.load import Model, load
from onnxprune.proof.attempts import Inputs
from onnxprune.proof.discontinuous import jumps
from onnxprune.proof.judge import Proof
from onnxprune.proof.pair import Pair
from onnxprune.proof.rounds import established
from onnxprune.proof.scratch import Feed
from onnxprune.proof.wrong import Bundle
from onnxprune.trace.groups import Trace


@dataclass(frozen=True)
class Twin:
    """`trace`: of the original, which has the same inputs and outputs; there the weights are `named` so, and `weights`
    in the `twin`, the dense model. `words` for it. `runs`: with the library of sparse operators, or without.
    """

    trace: Trace
    named: tuple[str, ...]
    twin: Model
    weights: tuple[str, ...]
    candidate: Path
    words: str
    runs: tuple[bool, ...] = (True,)


def prove_twin(asked: Twin, *, samples: Feed | None = None, seed: int = 0, threads: int = 0) -> Proof:
    """The file must agree with the twin, and not with one whose weights are in the wrong rows, whichever weight that
    is. Raises VerificationError, ModelError.
    """
    trace, twin = asked.trace, asked.twin
    changed = {node.index for node in trace.graph.nodes if set(node.inputs) & set(asked.named)}
    both = _values(twin.proto) & _values(load(asked.candidate).inlined().proto)
    # of a weight that is zero all rows are alike
    parts = tuple(name for name in asked.weights if twin.tensors[name].array().any())

    def wrong(bundle: Bundle, strong: bool) -> Feed:
        return {name: _misplaced(twin.tensors[name].array(), strong) for name in bundle}

    pair = Pair(
        trace,
        np.ones(trace.unit_count, bool),
        parts,
        _open(twin, parts),
        {},
        wrong,
        asked.candidate,
        jumps(trace, changed),
        asked.words,
        asked.runs,
        roundable=False,
        threads=threads,
    )
    return established(pair, Inputs(trace, seed, samples), lambda key: key in both)


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
