"""Grids for other processors than this one, and for layers of one channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto

import onnxprune
from onnxprune.quantizing.static import activation_grid
from tests.builders import Net


@pytest.mark.parametrize("device", ["vnni", "x86", "arm"])
def test_rectifiers_are_part_of_the_grid_with_every_type(tmp_path: Path, device: str) -> None:
    """They leave the file, so that what is below 0 must not be on the grid."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8), 8, name="a"))
    net.output(net.conv(net.relu(net.conv(h, 1, name="b")), 4, name="c"))
    onnx.save(net.model(), tmp_path / "m.onnx")
    data = {net.inputs[0].name: net.rng.standard_normal((24, 3, 8, 8)).astype(np.float32)}
    files = tmp_path / "m.onnx", tmp_path / "q.onnx"
    result = onnxprune.quantize(*files, data=data, scheme="static", device=device, repair="none")
    assert result.plan.quantization is not None
    kinds = {one.type for one in result.plan.quantization.values}
    assert kinds == {"int8" if device == "arm" else "uint8"}
    assert "Relu" not in {node.op_type for node in onnx.load(files[1]).graph.node}
    found = onnxprune.verify(*files)
    assert found.grids is not None and found.grids.most_steps <= 1
    assert {one.axis for one in result.plan.quantization.weights} == {0, None}, "one channel has one scale"


@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 3.0), (-2.0, 0.0), (1.0, 2.0)])
def test_both_types_have_the_same_numbers(low: float, high: float) -> None:
    unsigned, signed = (activation_grid(low, high, kind) for kind in (TensorProto.UINT8, TensorProto.INT8))
    x = np.linspace(2 * low - 1, 2 * high + 1, 999)
    np.testing.assert_array_equal(unsigned.rounded(x), signed.rounded(x))
    assert int(unsigned.zero_point) - 128 == int(signed.zero_point)
