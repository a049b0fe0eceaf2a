"""Is a file with sparse weights what its plan says? Structure and zeros; what it computes is for `proof.sparse`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from onnxprune.cut.plan import SparsePlan
from onnxprune.errors import PlanError, VerificationError
from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.plain import declared, hoisted
from onnxprune.native.marks import DOMAIN, is_marked
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.sparse.decode import VALUES, dense_again, dense_initializers, family_of, stored_weight
from onnxprune.sparse.masks import Mask
from onnxprune.sparse.patterns import parse_pattern
from onnxprune.sparse.rewrite import Rewritten, rewrite
from onnxprune.sparsifying.layers import IntegerLayer, Layer, layers_of
from onnxprune.sparsifying.request import DENSE_ZEROS, OPERATORS, SPARSE_INITIALIZERS
from onnxprune.sparsifying.zeros import check_zeros

Array = NDArray[Any]


@dataclass(frozen=True)
class Compared:
    """`twin`: the dense model with the zeros of the file, which its `weights` have. `refitted`: constants of other
    values than in the bare network, sparse weights by their names there. `nonzero` of them are not zero.
    """

    twin: Model
    weights: tuple[str, ...]
    refitted: tuple[str, ...]
    nonzero: int


def compare_sparse(bare: Model, found: Model, plan: SparsePlan) -> Compared:
    """`found` must be the network `bare` (cut, not refitted) with the sparse weights of `plan`, and other values only
    where repair gives some. Raises VerificationError, PlanError.
    """
    bare = declared(hoisted(bare, integers=False))
    layers = layers_of(bare)
    missing = [one.weight for one in plan.weights if one.weight not in bare.tensors or one.weight not in layers]
    if missing:
        raise PlanError(f"the plan names a sparse weight {missing[0]!r}, which the model does not have")
    if plan.emit == OPERATORS:
        trained = {name for name, layer in layers.items() if isinstance(layer, IntegerLayer) and layer.key}
        twin, weights, refitted, before, arrays = _operators(bare, found, plan, trained)
    elif plan.emit in (DENSE_ZEROS, SPARSE_INITIALIZERS):
        _check_sparse_initializers(bare, found, plan)
        twin = dense_initializers(found)
        weights = tuple(one.weight for one in plan.weights)
        refitted = set(compare_with_expected(_with_weights_of(twin, bare, weights), twin))
        arrays = {name: twin.tensors[name].array() for name in weights}
        before = {name: bare.tensors[name].array() for name in weights}
    else:
        raise PlanError(f"the plan names a form of file that is not known: {plan.emit!r}")
    changed = {name for name, array in arrays.items() if np.any((array != before[name]) & (array != 0))}
    integers = [name for name in sorted(changed) if _untrained(layers[name])]
    if integers:
        raise VerificationError(f"integer weight {integers[0]!r} has other values, and no repair changes those")
    refitted |= changed
    return Compared(twin, weights, tuple(sorted(refitted)), check_zeros(plan, arrays, layers))


def _untrained(layer: Layer) -> bool:
    """Whether a layer's weights are integers that no repair changes."""
    return isinstance(layer, IntegerLayer) and not layer.key


def _operators(
    bare: Model, found: Model, plan: SparsePlan, trained: Collection[str]
) -> tuple[Model, tuple[str, ...], set[str], dict[str, Array], dict[str, Array]]:
    """The twin and its sparse weights, what else has other values, and the sparse weights by their names in `bare`:
    as they would be without zeros, and as they are. Scales that follow a layer are part of them. `trained`: weights in
    integers that repair may change, with their scales and biases.
    """
    masks = {
        one.weight: Mask(np.ones(bare.tensors[one.weight].shape, bool), parse_pattern(one.pattern))
        for one in plan.weights
    }
    frame = rewrite(bare, masks, depthwise=plan.depthwise)
    _check_functions(frame.model, found)
    graph = build(frame.model)
    free = {name for node in graph.nodes for name in _stored(node)}
    scales = {key for node in graph.nodes for key in _steps(node) if frame.stored[node.inputs[3]][0] in trained}
    refitted = compare_with_expected(_without_places(frame.model), _without_places(found), free, scales)
    bad = [name for name in scales if not np.isfinite(found.tensors[name].array().astype(np.float64)).all()]
    if bad:
        raise VerificationError(f"{min(bad)!r} of the file holds numbers that are not finite")
    before, arrays = (
        {**{name: model.tensors[name].array() for name in set(masks) & set(model.tensors)}, **_read(frame, model)}
        for model in (frame.model, found)
    )
    lost = set(masks) - set(arrays)
    if lost:
        raise VerificationError(f"the file has no sparse weight {min(lost)!r}, which its plan names")
    twin = dense_again(found)
    added = [name for name in twin.tensors if name not in found.tensors and twin.tensors[name].array().ndim > 1]
    return twin, (*added, *(name for name in masks if name in twin.tensors)), set(refitted) - free, before, arrays


def _with_weights_of(found: Model, bare: Model, names: Sequence[str]) -> Model:
    """The bare network with sparse weights as they were found, which are looked at apart. Raises VerificationError."""
    tensors = dict(bare.tensors)
    for name in names:
        old, new = tensors[name], found.tensors.get(name)
        if new is None or new.shape != old.shape or new.dtype != old.dtype:
            raise VerificationError(f"the file has no weight {name!r} of the shape {list(old.shape)}, as its plan says")
        tensors[name] = new
    proto = ModelProto()
    proto.CopyFrom(bare.proto)
    return bare.replace(proto, tensors)


def _check_functions(frame: Model, found: Model) -> None:
    """Functions of the domain are those of onnxprune (by their marks), one for each operator that is used."""
    ours = {entry.name for entry in frame.proto.functions if entry.domain == DOMAIN}
    theirs = [entry for entry in found.proto.functions if entry.domain == DOMAIN]
    if {entry.name for entry in theirs} != ours or not all(is_marked(entry) for entry in theirs):
        raise VerificationError(f"the functions of the domain {DOMAIN} in the file are not those that its plan gives")


def _without_places(model: Model) -> Model:
    """Before opset 11 nodes also carry places as an attribute, for their functions: `proof.sparse` runs those."""
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for node in proto.graph.node:
        for attribute in [a for a in node.attribute if node.domain == DOMAIN and a.name == "positions"]:
            node.attribute.remove(attribute)
    return model.replace(proto, model.tensors)


def _stored(node: Any) -> list[str]:
    """Inputs of a sparse operator that hold its weight."""
    slot = VALUES.get(family_of(node))
    return [] if slot is None else [node.inputs[slot], node.inputs[slot + 1]]


def _steps(node: Any) -> list[str]:
    """Inputs of a sparse operator on integers that hold the scales of its weight and its bias."""
    integers = node.domain == DOMAIN and node.op_type.startswith(("SparseQConv", "SparseQMatMul"))
    return [node.inputs[5], node.inputs[-1]] if integers else []


def _read(frame: Rewritten, found: Model) -> Mapping[str, Array]:
    """The sparse weights that the operators of the file have, in the shape of the model."""
    graph = build(found)
    result: dict[str, Array] = {}
    for node in graph.nodes:
        name = next(iter(_stored(node)), "")
        if name in frame.stored:
            weight, transposed = frame.stored[name]
            array = stored_weight(graph, node)
            result[weight] = array.T if transposed else array
    return result


def _check_sparse_initializers(bare: Model, found: Model, plan: SparsePlan) -> None:
    """Before anything is made dense: these and no others, in the shape of the model."""
    planned = {one.weight for one in plan.weights} if plan.emit == SPARSE_INITIALIZERS else set()
    given = {sparse.values.name: sparse for sparse in found.proto.graph.sparse_initializer}
    if set(given) != planned:
        raise VerificationError("the sparse initializers of the file are not those of its plan")
    for name, sparse in given.items():
        if tuple(sparse.dims) != tuple(bare.tensors[name].shape):
            raise VerificationError(
                f"the sparse initializer {name!r} is {list(sparse.dims)}; its plan gives "
                f"{list(bare.tensors[name].shape)}"
            )
