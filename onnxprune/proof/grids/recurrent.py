"""Networks whose LSTMs compute with integers, with LSTMs of floats that have the same weights.

DynamicQuantizeLSTM rounds its inputs and its state in every step anew: which way a number falls decides the rest, and
nothing of it is seen from outside. So its weights are made real,

    W = s (q - z),  of the shape (directions, 4 units, inputs),

and LSTM reads them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto

from onnxprune.errors import VerificationError
from onnxprune.model.load import Model
from onnxprune.model.names import bodies, fresh, taken
from onnxprune.model.plain import declared
from onnxprune.model.tensors import LazyTensor

KIND, WEIGHTS, OF_LSTM = "DynamicQuantizeLSTM", ((1, 8), (2, 10)), 8
"""Its weights and their scales; zero points are behind those. The first inputs are those of LSTM."""


def with_plain_recurrence(model: Model) -> Model:
    """The model with this put in place. Raises VerificationError for weights that are no initializers."""
    proto = onnx.ModelProto()
    proto.CopyFrom(model.proto)
    names, tensors = taken(proto, model.tensors), dict(model.tensors)
    for graph in bodies(proto.graph):
        for node in graph.node:
            if node.op_type == KIND and node.domain == "com.microsoft":
                _replace(node, tensors, names)
    return declared(model.replace(proto, tensors))


def _replace(node: NodeProto, tensors: dict[str, LazyTensor], names: set[str]) -> None:
    inputs = list(node.input)
    for slot, scale in WEIGHTS:
        name = fresh(f"{inputs[slot]}.real", names)
        tensors[name] = LazyTensor.from_array(name, _real(tensors, [inputs[slot], *inputs[scale : scale + 2]], node))
        inputs[slot] = name
    del node.input[:]
    node.input.extend(inputs[:OF_LSTM])
    node.op_type, node.domain = "LSTM", ""


def _real(tensors: Mapping[str, LazyTensor], keys: Sequence[str], node: NodeProto) -> NDArray[np.float32]:
    """keys: integers (directions, inputs, 4 units), scales and zero points (directions, 4 units)."""
    if any(key not in tensors for key in keys):
        raise VerificationError(f"the weights of {node.name or node.op_type!r} are no initializers")
    integers, scale, zero = (tensors[key].array() for key in keys)
    wide = integers.astype(np.float64) - zero.astype(np.float64)[:, None]
    real = wide * scale.astype(np.float64)[:, None]
    return np.ascontiguousarray(real.swapaxes(1, 2), np.float32)
