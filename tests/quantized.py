"""Small networks quantised by ONNX Runtime, as its users get them: integers around every layer."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

Array = NDArray[Any]


class Feeds(CalibrationDataReader):  # type: ignore[misc]
    """All samples at once."""

    def __init__(self, feeds: Mapping[str, Array]) -> None:
        self._feeds = iter([dict(feeds)])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def quantized(model: onnx.ModelProto, feeds: Mapping[str, Array], **options: Any) -> onnx.ModelProto:
    """QDQ with one scale for each output of a weight, unless `options` say otherwise."""
    chosen: dict[str, Any] = {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        **options,
    }
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source, target = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        onnx.save(model, source)
        quantize_static(source, target, Feeds(feeds), **chosen)
        return onnx.load(target)


def executed(model: onnx.ModelProto) -> dict[str, int]:
    """How often ONNX Runtime runs each operator, after its optimisations."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "optimized.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return dict(Counter(node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node))


def images(count: int = 60, *shape: int, seed: int = 1) -> dict[str, Array]:
    return {"x": np.random.default_rng(seed).standard_normal((count, *(shape or (3, 8, 8)))).astype(np.float32)}
