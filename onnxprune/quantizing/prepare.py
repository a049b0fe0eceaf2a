"""A model in the form in which layers can be quantised: weights as initializers, an opset whose quantisers know
channels, and normalisations inside the layers before them. It computes what the original does.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import version_converter

from onnxprune.errors import ModelError
from onnxprune.model.graph import Graph, Node, build
from onnxprune.model.load import Model, load
from onnxprune.model.names import fresh, taken
from onnxprune.model.plain import declared, hoisted, outputs_of, owned
from onnxprune.model.recorded import tidied
from onnxprune.model.splice import splice
from onnxprune.model.tensors import LazyTensor

OPSET = 13
"""The first in which QuantizeLinear and DequantizeLinear have an axis."""
LAYERS = frozenset({"Conv", "ConvTranspose"})


def prepared(model: Model) -> Model:
    """The model in this form. Raises ModelError for an opset that cannot be converted."""
    return with_folded_normalisations(hoisted(with_opset(model)))


def with_opset(model: Model, opset: int = OPSET) -> Model:
    """The model in at least this opset. Raises ModelError, with the reason, if it cannot be converted."""
    found = model.opset()
    if found >= opset or not found:
        return model
    try:
        proto = version_converter.convert_version(model.complete_proto(), opset)
        converted = load(proto)
    except Exception as error:  # the converter raises many types
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"opset {found} has no quantisers with channels, and onnx cannot convert the model to {opset}: {reason}",
            hint=f"Export the model with opset {opset} or later.",
        ) from error
    result = onnx.ModelProto()
    result.CopyFrom(model.proto)
    result.graph.CopyFrom(converted.proto.graph)
    del result.opset_import[:]
    result.opset_import.extend(converted.proto.opset_import)
    result.ir_version = max(model.proto.ir_version, converted.proto.ir_version)
    return model.replace(result, converted.tensors)


def with_folded_normalisations(model: Model) -> Model:
    """BatchNormalization behind a convolution that nothing else reads becomes part of it:

    W' = W g / sqrt(v + eps),  b' = (b - m) g / sqrt(v + eps) + beta,  per output channel.
    """
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    graph = build(Model(proto, model.tensors, model.path, model.external_files))
    names, tensors = taken(proto, model.tensors), dict(model.tensors)
    gone: set[int] = set()
    for node in graph.nodes:
        layer = _foldable(graph, node)
        if layer is not None:
            tensors |= _folded(graph, layer, node, names)
            # they change places: nodes are told apart by what they give
            layer.proto.output[0], node.proto.output[0] = node.outputs[0], layer.outputs[0]
            gone.add(node.index)
    if not gone:
        return model
    splice(graph, {}, gone)
    return declared(tidied(model.replace(proto, tensors), model))


def _foldable(graph: Graph, node: Node) -> Node | None:
    """The layer that a normalisation can become part of."""
    if node.op_type != "BatchNormalization" or node.domain or node.scope or node.attribute("training_mode", 0):
        return None
    if len([key for key in node.outputs if key]) != 1 or any(
        key not in graph.model.tensors for key in node.inputs[1:5]
    ):
        return None
    made = graph.producer.get(node.inputs[0])
    layer = None if made is None else graph.nodes[made]
    if layer is None or layer.op_type not in LAYERS or layer.domain or layer.scope:
        return None
    alone = len(graph.consumers.get(node.inputs[0], ())) == 1 and node.inputs[0] not in graph.fixed
    bias = layer.inputs[2] if len(layer.inputs) > 2 else ""
    known = not bias or bias in graph.model.tensors
    return layer if alone and known and owned(graph, layer.inputs[1]) else None


def _folded(graph: Graph, layer: Node, node: Node, names: set[str]) -> dict[str, LazyTensor]:
    """The new weight and bias of the layer, which gets a bias of its own."""
    tensors = graph.model.tensors
    weight = tensors[layer.inputs[1]]
    gamma, beta, mean, variance = (tensors[key].array().astype(np.float64) for key in node.inputs[1:5])
    factor = gamma / np.sqrt(variance + float(node.attribute("epsilon", 1e-5)))
    outputs = outputs_of(layer.proto, weight.shape)
    known = len(layer.inputs) > 2 and bool(layer.inputs[2])
    bias = tensors[layer.inputs[2]].array().astype(np.float64) if known else np.zeros(outputs)
    new = _scaled(layer, weight.array(), factor)
    name = fresh(f"{layer.inputs[1]}.bias", names)
    proto = layer.proto
    del proto.input[2:]
    proto.input.append(name)
    moved = ((bias - mean) * factor + beta).astype(new.dtype)
    return {weight.name: weight.with_array(new), name: LazyTensor.from_array(name, moved, weight.dtype)}


def _scaled(layer: Node, weight: NDArray[Any], factor: NDArray[np.float64]) -> NDArray[Any]:
    """The weight with every output channel multiplied."""
    if layer.op_type == "Conv":
        return np.asarray(weight * factor.reshape(-1, *[1] * (weight.ndim - 1)), weight.dtype)
    groups = int(layer.attribute("group", 1))  # (inputs, outputs of a group, ...)
    blocks = weight.reshape(groups, -1, *weight.shape[1:])
    wide = factor.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
    return np.asarray((blocks * wide).reshape(weight.shape), weight.dtype)
