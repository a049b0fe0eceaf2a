"""Quantised networks, made by ONNX Runtime from the example model: QDQ, QOperator, per channel, weights only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)

from onnxprune import inspect, shrink
from onnxprune.model.load import load
from tests.hostile.support import DIGITS, ROOT, Array, info, model_of, run, shrunk, weights

pytestmark = pytest.mark.filterwarnings("ignore")  # those of the quantiser


class Images(CalibrationDataReader):  # type: ignore[misc]
    """A few of the example's calibration images."""

    def __init__(self) -> None:
        name = onnx.load(DIGITS).graph.input[0].name
        with np.load(ROOT / "models" / "digits_calib.npz", allow_pickle=False) as data:
            images = data[data.files[0]][:32].astype(np.float32)
        self._feeds = iter([{name: images}])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


@pytest.mark.parametrize("per_channel", [False, True])
def test_qdq_model_shrinks(tmp_path: Path, per_channel: bool) -> None:
    """Weights behind DequantizeLinear, per tensor and per channel: scales and zero points are cut along."""
    path = tmp_path / "qdq.onnx"
    quantize_static(DIGITS, path, Images(), quant_format=QuantFormat.QDQ, per_channel=per_channel)
    result = shrink(path, tmp_path / "small.onnx", ratio=0.3, threads=1)
    assert result.proof is not None and result.reached_ratio > 0.2
    types = {t.data_type for t in load(tmp_path / "small.onnx").proto.graph.initializer}
    assert TensorProto.INT8 in types


def test_qoperator_model_shrinks(tmp_path: Path) -> None:
    """Fused integer operators, all of which have a rule."""
    path = tmp_path / "qop.onnx"
    quantize_static(DIGITS, path, Images(), quant_format=QuantFormat.QOperator)
    found = inspect(path)
    operators = {n.op_type for n in onnx.load(path).graph.node}
    assert "QLinearConv" in operators
    assert not found.operators_without_rule
    result = shrink(path, tmp_path / "small.onnx", ratio=0.3, threads=1)
    assert result.written and result.proof is not None and result.reached_ratio > 0.2


def test_dynamically_quantised_model_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(DIGITS, path, weight_type=QuantType.QUInt8)
    result = shrink(path, tmp_path / "small.onnx", ratio=0.3, threads=1)
    assert result.written and result.proof is not None and result.reached_ratio > 0.2


@pytest.mark.parametrize("block", [0, 4])
def test_int4_weights(tmp_path: Path, block: int) -> None:
    """Four-bit weights behind DequantizeLinear, with a scale for each channel or each block of inputs."""
    packed = np.random.default_rng(0).integers(0, 256, 4 * 8 // 2, np.uint8).tobytes()
    tensor = TensorProto(name="q", data_type=TensorProto.INT4, dims=[8, 4], raw_data=packed)
    nodes = [
        helper.make_node("DequantizeLinear", ["q", "scale"], ["w"], axis=0 if not block else 1, block_size=block),
        helper.make_node("Gemm", ["x", "w"], ["a"], name="up", transB=1),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "down"], ["y"], name="down"),
    ]
    scale = np.full((8, 1) if block else (8,), 0.05, np.float32)
    proto = model_of(nodes, [info("x", ["N", 4])], [info("y", ["N", 3])], {"scale": scale, "down": weights(8, 3)})
    proto.graph.initializer.append(tensor)
    path = tmp_path / "int4.onnx"
    path.write_bytes(proto.SerializeToString())
    result = shrink(path, tmp_path / "small.onnx", threads=1)
    assert result.proof is not None and load(tmp_path / "small.onnx").tensors["q"].shape == (4, 4)


def test_a_weight_that_is_quantised_in_the_graph(tmp_path: Path) -> None:
    """QuantizeLinear and DequantizeLinear of a float weight, as quantisation-aware training exports it."""
    nodes = [
        helper.make_node("QuantizeLinear", ["w", "scale", "zero"], ["q"], axis=0),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["wq"], axis=0),
        helper.make_node("Gemm", ["x", "wq", "bias"], ["a"], name="up", transB=1),
        helper.make_node("MatMul", ["a", "down"], ["y"], name="down"),
    ]
    tensors = {
        "w": weights(8, 4),
        "scale": np.full(8, 0.02, np.float32),
        "zero": np.zeros(8, np.int8),
        "bias": weights(8),
        "down": weights(8, 3),
    }
    proto = model_of(nodes, [info("x", ["N", 4])], [info("y", ["N", 3])], tensors)
    result, small = shrunk(tmp_path, proto, repair="none")
    assert result.reached_ratio == 0.5
    assert small.tensors["scale"].shape == small.tensors["zero"].shape == (4,)
    assert run(small, {"x": weights(2, 4)})[0].shape == (2, 3)
    assert numpy_helper.to_array(small.complete_proto().graph.initializer[0]).shape == (4, 4)
