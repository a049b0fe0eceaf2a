"""Which weights stay: masks, and models that hold the zeros as they are, for runtimes without sparse operators."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, SparseTensorProto, TensorProto, numpy_helper

from onnxprune.errors import UsageError
from onnxprune.model import LazyTensor, Model
from onnxprune.sparse.patterns import Pattern


@dataclass(frozen=True)
class Mask:
    """keep: booleans of the shape of the weight, as the file has it; pattern: the blocks it is made of."""

    keep: NDArray[np.bool_]
    pattern: Pattern


def dense_zeros(model: Model, masks: Mapping[str, Mask]) -> Model:
    """`model` with the removed weights set to zero, all else as it is. Keys are names of initializers.

    Raises UsageError for a name that is no initializer, or a mask of another shape.
    """
    for name, mask in masks.items():
        tensor = model.tensors.get(name)
        if tensor is None:
            raise UsageError(f"no initializer is called {name!r}")
        if tensor.shape != mask.keep.shape:
            raise UsageError(
                f"the mask of {name!r} has the shape {list(mask.keep.shape)}, the weight {list(tensor.shape)}"
            )
    tensors = {
        name: _masked(tensor, masks[name]) if name in masks else tensor for name, tensor in model.tensors.items()
    }
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    return model.replace(proto, tensors)


def _masked(tensor: LazyTensor, mask: Mask) -> LazyTensor:
    array = tensor.array()
    return tensor.with_array(np.where(mask.keep, array, np.zeros((), array.dtype)))


def sparse_initializers(model: Model, names: Collection[str]) -> Model:
    """`model` with these initializers stored as ONNX sparse tensors: a smaller file, the same speed.

    Runtimes make them dense again when they load the model. Values and linear indices (int64), as the format wants.
    """
    missing = sorted(set(names) - set(model.tensors))
    if missing:
        raise UsageError(f"no initializer is called {missing[0]!r}")
    proto = ModelProto()
    proto.CopyFrom(model.proto)
    for name in sorted(names):
        array = model.tensors[name].array()
        places = np.flatnonzero(array)
        sparse = SparseTensorProto(dims=array.shape)
        sparse.values.CopyFrom(numpy_helper.from_array(array.ravel()[places], name))
        sparse.indices.CopyFrom(TensorProto(data_type=TensorProto.INT64, dims=[len(places)], name=f"{name}_indices"))
        sparse.indices.raw_data = places.astype("<i8").tobytes()
        proto.graph.sparse_initializer.append(sparse)
    return model.replace(proto, {name: tensor for name, tensor in model.tensors.items() if name not in set(names)})
