"""Networks that are given what they would decide by: the values that enter comparing, sorting and rounding operators.

Two correct computations differ in their last bits, and by these one may keep a row of which the other knows nothing.
With the values of one network in both, each operator decides the same in both, and whatever comes behind can be
compared: the second stage of a detector, the decoder behind predicted durations. Other values will do as well, such
that there are rows at all.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.infer import Facts
from onnxprune.model.load import Model
from onnxprune.proof.discontinuous import Jumps

PREFIX = "onnxprune.decides."  # of made-up inputs
MOST_ELEMENTS = 1 << 24  # of all such values of one input together
DECIDED = "decided at random"
Arrays = dict[str, NDArray[Any]]


def deciding(found: Jumps, facts: Facts) -> dict[str, dict[int, str]]:
    """`found.decided`, if the values are not too many to be kept, and nothing is called as their inputs are."""
    keys = {key for slots in found.decided.values() for key in slots.values()}
    elements = sum(math.prod(size or 1 for size in facts.shapes.get(key) or ()) for key in keys)
    free = not any(PREFIX + key in facts.shapes for key in keys)
    return found.decided if keys and free and elements <= MOST_ELEMENTS else {}


def given(model: Model, decided: Mapping[str, Mapping[int, str]], facts: Facts) -> Model:
    """The model in which the operators `decided` (first output -> slot -> key) read inputs instead, see `inputs_for`.

    What is written between a value and such an operator (a mask) stays there. `facts`: of the network it comes from.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    makers = {name: node for node in proto.graph.node for name in node.output if name}
    for output, slots in decided.items():
        if output not in makers:  # it left, with its branch
            continue
        for slot, key in slots.items():
            node, place = makers[output], slot
            between = makers.get(node.input[slot])
            if node.input[slot] != key and between is not None and key in between.input:
                node, place = between, list(between.input).index(key)
            node.input[place] = PREFIX + key
    for key in keys_of(decided):
        shape = facts.shapes.get(key)
        dims = None if shape is None else [None] * len(shape)
        kind = facts.dtypes.get(key, TensorProto.FLOAT)
        proto.graph.input.append(helper.make_tensor_value_info(PREFIX + key, kind, dims))
    return model.replace(proto, model.tensors)


def inputs_for(decided: Mapping[str, Mapping[int, str]], values: Mapping[str, NDArray[Any]]) -> Arrays:
    """What such a model is fed besides."""
    return {PREFIX + key: values[key] for key in keys_of(decided)}


def at_random(fed: Arrays, seed: int) -> Iterator[Arrays]:
    """Other values to decide by: normal numbers, larger than what is there (as thresholds may be), or their
    magnitudes.
    """
    for number, (scale, positive) in enumerate(((2, False), (2, True), (64, False), (64, True))):
        rng = np.random.default_rng((seed, number))
        result = {}
        for name, value in fed.items():
            finite = np.abs(value[np.isfinite(value)].astype(np.float64))
            drawn = rng.standard_normal(value.shape) * scale * (float(finite.max(initial=0.0)) + 1)
            result[name] = (np.abs(drawn) if positive else drawn).astype(value.dtype)
        yield result


def keys_of(decided: Mapping[str, Mapping[int, str]]) -> list[str]:
    """The values that are taken from one network into the other."""
    return list(dict.fromkeys(key for slots in decided.values() for key in slots.values()))
