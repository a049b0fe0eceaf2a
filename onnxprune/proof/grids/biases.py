"""Biases that a repair gave to layers which had none, as zeros in what the file is held against."""

from __future__ import annotations

import numpy as np
import onnx

from onnxprune.model.graph import build
from onnxprune.model.load import Model
from onnxprune.model.names import fresh, taken
from onnxprune.model.plain import declared, outputs_of
from onnxprune.model.tensors import LazyTensor
from onnxprune.proof.grids.same import counterparts
from onnxprune.proof.grids.stored import stored

BIASED = frozenset({"Conv", "ConvTranspose", "Gemm"})
BIAS = 2


def with_biases_of(expected: Model, found: Model) -> Model:
    """`expected`, in the form whose layers are quantised, with a bias of zeros wherever only `found` has one."""
    proto = onnx.ModelProto()
    proto.CopyFrom(expected.proto)
    graph = build(Model(proto, expected.tensors, expected.path, expected.external_files))
    result = build(found)
    names, tensors = taken(proto, expected.tensors), dict(expected.tensors)
    for node, other in counterparts(graph, result, stored(result)):
        bare = node.op_type in BIASED and not node.domain and len(node.inputs) == BIAS
        if bare and other.op_type == node.op_type and len(other.inputs) > BIAS and node.inputs[1] in tensors:
            weight = tensors[node.inputs[1]]
            name = fresh(f"{node.inputs[1]}.bias", names)
            zeros = np.zeros(outputs_of(node.proto, weight.shape), np.float32)
            tensors[name] = LazyTensor.from_array(name, zeros, weight.dtype)
            node.proto.input.append(name)
    return declared(expected.replace(proto, tensors))
