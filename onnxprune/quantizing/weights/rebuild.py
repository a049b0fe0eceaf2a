"""From a file whose weights are small back to what it must be: the original, with the integers that the file has.

The network is written again, as `run` writes it, with the weights found in the file. It must come out as the file is:
the same nodes, and every other number that of the original. Only these may differ, where samples were given:

- biases of layers whose weights became small are refitted;
- factors of normalisations are divided by powers of two, and the weights behind them multiplied (`equalise`).

What a weight stands for lies near the original's. Without samples it is the nearest number of its grid. Rounding by
second moments moves it further, but never as far as zeros would be: `small.by_samples` takes the nearest instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from onnxprune.errors import PlanError, VerificationError
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.plain import declared
from onnxprune.model.tensors import LazyTensor
from onnxprune.quantizing.equalise import apply_scale, normalised
from onnxprune.quantizing.weights.entries import entry_of
from onnxprune.quantizing.weights.nodes import with_rounded_inputs, with_small_weights
from onnxprune.quantizing.weights.places import PRODUCT, places
from onnxprune.quantizing.weights.reading import stored_in
from onnxprune.quantizing.weights.request import DYNAMIC, INT8, WeightRequest
from onnxprune.quantizing.weights.run import working
from onnxprune.quantizing.weights.small import FARTHEST, beyond_nearest, moved_share
from onnxprune.quantizing.weights.stored import Stored
from onnxprune.results.plan import QuantizationPlan
from onnxprune.trace.groups import Trace

Array = NDArray[Any]
HARDLY = 0.02
"""Steps by which a weight may be farther than the nearest number of its grid: ties, and the last bit of a quotient."""


@dataclass(frozen=True)
class Rebuilt:
    """`twin`: the float model that the file stands for. `moved`: by weight, how far it is from the original's, as a
    share of its norm. `refitted`: initializers that have other values than rounding to the nearest gives. `size`: how
    many numbers are small."""

    twin: Model
    moved: Mapping[str, float]
    refitted: tuple[str, ...]
    size: int


def rebuilt(trace: Trace, found: Model, plan: QuantizationPlan, *, with_samples: bool, bits: int = 8) -> Rebuilt:
    """`trace`: of the original; `found`: the file; `with_samples`: whether it was made with some; `bits`: of int8 that
    products use.

    Raises VerificationError, PlanError.
    """
    request = WeightRequest(kind=DYNAMIC if plan.scheme == DYNAMIC else INT8, others=INT8, bits=bits, least=0)
    model, graph = working(trace, None, request), build(found)
    there = {place.key: place for place in places(build(model), request) if place.key and place.reason is None}
    stored = {key: item for key, place in there.items() if (item := stored_in(graph, place)) is not None}
    _require_planned(stored, plan)
    tensors, refitted = dict(model.tensors), list[str]()
    if with_samples:
        refitted += _equalised(tensors, model, stored, found)
        refitted += _biases(tensors, stored, found)
    moved = {}
    for key, item in stored.items():
        moved[key], nearest = _distance(item, tensors[key], bits)
        if not nearest and not with_samples:
            raise VerificationError(f"weight {key!r} is not what rounding to the nearest gives, and was not refitted")
        refitted += [] if nearest else [key]
    expected = with_small_weights(_with(model, tensors), stored, WeightRequest().accuracy_level)
    _require_same(expected, found)
    twin, _ = with_rounded_inputs(model, {key for key, item in stored.items() if item.place.form == PRODUCT})
    real = {key: item.real(tensors[key]) for key, item in stored.items()}
    size = sum(item.place.size for item in stored.values())
    return Rebuilt(_with(twin, {**tensors, **real}), moved, tuple(dict.fromkeys(refitted)), size)


# ---- inner -------------------------------------------------------------------------------------------------------
def _require_planned(stored: Mapping[str, Stored], plan: QuantizationPlan) -> None:
    planned = {one.weight: one for one in plan.weights}
    if not planned:
        raise PlanError(
            "the plan in the file does not say how its weights are stored",
            hint="It is of an earlier version: quantise the model again.",
        )
    for key, item in stored.items():
        one, entry = planned.pop(key, None), entry_of(item)
        if one is None:
            raise VerificationError(f"weight {key!r} is stored in {item.bits} bits, and the plan does not say so")
        if (one.type, one.axis, one.block) != (entry.type, entry.axis, entry.block):
            raise VerificationError(f"weight {key!r} is stored as {entry.type}, the plan says {one.type}")
        if one.digest != entry.digest:
            raise VerificationError(f"the integers or the scales of weight {key!r} are not those of the plan")
    if planned:
        raise VerificationError(f"weight {next(iter(planned))!r} is not stored in fewer bits, and the plan says so")
    labels = tuple(item.place.node.label for item in stored.values())
    if labels != plan.nodes:
        raise VerificationError("the layers whose weights are small are not those of the plan")


def _equalised(tensors: dict[str, LazyTensor], model: Model, stored: Mapping[str, Stored], found: Model) -> list[str]:
    """Put factors of normalisations, and weights behind them, as the file has them; names of those that changed."""
    changed = list[str]()
    for one in normalised(build(model)):
        pairs = [(tensors[key].array(), _as_before(found, tensors[key])) for key in one.factors]
        if all(np.array_equal(old, new) for old, new in pairs):
            continue
        scale = _ratio(pairs)
        readers = [reader for reader in one.readers if reader.weight in stored]
        for reader in readers:
            scale = np.where(
                np.isnan(scale), _rows_ratio(stored[reader.weight], tensors[reader.weight], reader.axis), scale
            )
        scale = np.where(np.isnan(scale), 1.0, scale)
        if not readers or (2.0 ** np.rint(np.log2(scale)) != scale).any():
            raise VerificationError(f"the factors of {one.key!r} are not the original's divided by powers of two")
        apply_scale(tensors, one, scale)
        changed += one.factors
    return changed


def _as_before(found: Model, tensor: LazyTensor) -> Array:
    """The array of this name in the file. Raises VerificationError if it has another type or shape."""
    other = found.tensors.get(tensor.name)
    if other is None or other.dtype != tensor.dtype or other.shape != tensor.shape:
        raise VerificationError(f"initializer {tensor.name!r} is missing, or has another type or shape")
    array = other.array()
    if not np.isfinite(array).all():
        raise VerificationError(f"initializer {tensor.name!r} holds numbers that are not finite")
    return array


def _ratio(pairs: list[tuple[Array, Array]]) -> NDArray[np.float64]:
    """s (channels,): old / new of the factors where one is not zero; NaN elsewhere. They must not contradict."""
    scale = np.full(pairs[0][0].shape, np.nan)
    for old, new in pairs:
        known = (old != 0) & (new != 0)
        ratio = np.abs(old.astype(np.float64) / np.where(known, new, 1))
        scale = np.where(np.isnan(scale) & known, ratio, scale)
    return scale


def _rows_ratio(item: Stored, tensor: LazyTensor, axis: int) -> NDArray[np.float64]:
    """By input of a product, the power of two by which its weights are larger than the original's."""
    new, old = (np.linalg.norm(w.astype(np.float64), axis=1 - axis) for w in (item.values(), tensor.array()))
    known = (new > 0) & (old > 0)
    return np.where(known, 2.0 ** np.rint(np.log2(np.where(known, new, 1) / np.where(known, old, 1))), np.nan)


def _biases(tensors: dict[str, LazyTensor], stored: Mapping[str, Stored], found: Model) -> list[str]:
    """Put refitted biases as the file has them; names of those that changed."""
    changed = []
    for item in stored.values():
        linear = item.place.linear
        if linear is None or linear.bias is None or not linear.own_bias or linear.bias not in tensors:
            continue
        old = tensors[linear.bias]
        new = _as_before(found, old)
        if not np.array_equal(old.array(), new):
            tensors[linear.bias] = old.with_array(new)
            changed.append(linear.bias)
    return changed


def _distance(item: Stored, tensor: LazyTensor, bits: int) -> tuple[float, bool]:
    """How far a weight is from the original's, as a share of its norm; and whether it is the nearest of its grid.

    (Of an LSTM whose other weight stays float, this one has the bits of products, and is stored alone.) Raises
    VerificationError beyond what any rounding gives.
    """
    wanted, key = tensor.array(), item.place.key
    share = moved_share(item, wanted)
    nearest = min(beyond_nearest(item, wanted, one) for one in {bits, 8}) <= HARDLY
    if not nearest and not share < FARTHEST:
        raise VerificationError(
            f"weight {key!r} is {share:.3g} of its norm from the original's: no rounding gives that"
        )
    return share, nearest


def _require_same(expected: Model, found: Model) -> None:
    """Raises VerificationError for a node or a number that is another one."""
    a, b = expected.proto.graph.node, found.proto.graph.node
    if len(a) != len(b):
        raise VerificationError(f"the file has {len(b)} nodes, {len(a)} were expected")
    for before, after in zip(a, b, strict=True):
        if before != after:
            name = after.name or after.op_type
            raise VerificationError(f"node {name!r} of the file is not the original's, or not what stands for it")
    if list(expected.proto.functions) != list(found.proto.functions):
        raise VerificationError("the functions of the file are not those of the original")
    strange = set(expected.tensors) ^ set(found.tensors)
    if strange:
        raise VerificationError(f"initializer {min(strange)!r} is missing, or too much")
    for name, tensor in expected.tensors.items():
        other = found.tensors[name]
        if (other.dtype, other.shape) != (tensor.dtype, tensor.shape):
            raise VerificationError(f"initializer {name!r} has another type or shape than in the original")
        if _bytes(other) != _bytes(tensor):
            raise VerificationError(f"initializer {name!r} has other values than in the original")


def _bytes(tensor: LazyTensor) -> bytes:
    return np.ascontiguousarray(tensor.array()).tobytes()


def _with(model: Model, tensors: Mapping[str, LazyTensor]) -> Model:
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    return declared(model.replace(proto, tensors))
