"""Reading, holding and writing ONNX models. The only package that knows protobuf and the file system."""

from __future__ import annotations

from onnxprune.model.load import Model, load
from onnxprune.model.metadata import metadata, set_metadata, with_metadata
from onnxprune.model.save import Staged, check_output, write
from onnxprune.model.tensors import LazyTensor

__all__ = [
    "LazyTensor",
    "Model",
    "Staged",
    "check_output",
    "load",
    "metadata",
    "set_metadata",
    "with_metadata",
    "write",
]
