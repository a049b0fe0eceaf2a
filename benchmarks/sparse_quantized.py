"""Quantised versions of a float network, as its user would have them: by the quantiser of ONNX Runtime itself."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto


class _Samples:
    """What the quantiser reads its ranges from."""

    def __init__(self, name: str, arrays: list[NDArray[np.float32]]) -> None:
        self._arrays: Iterator[NDArray[np.float32]] = iter(arrays)
        self._name = name

    def get_next(self) -> dict[str, NDArray[np.float32]] | None:
        array = next(self._arrays, None)
        return None if array is None else {self._name: array}


def static_qdq(model: ModelProto, sample: NDArray[np.float32]) -> ModelProto:
    """Bytes everywhere, unsigned activations, one scale a weight: the fastest of the quantiser's settings for CNNs."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(model, source)
        quantize_static(
            source,
            target,
            _Samples(model.graph.input[0].name, [sample]),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=False,
        )
        return onnx.load(target)


def dynamic(model: ModelProto) -> ModelProto:
    """Bytes in the products of matrices only, scales found at run time: what is common for transformers."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    logging.getLogger().setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "a.onnx", Path(folder) / "b.onnx"
        onnx.save(model, source)
        quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=False)
        return onnx.load(target)
