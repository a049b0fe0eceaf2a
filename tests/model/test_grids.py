"""Grids of quantised values, against the operators of the runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxprune.model.graph import build
from onnxprune.model.grids import Grid, grid_of
from onnxprune.model.load import load

KINDS = {
    "per tensor": (TensorProto.UINT8, np.float32(0.07), 93, None, 0),
    "per channel": (TensorProto.INT8, np.linspace(0.01, 0.2, 6, dtype=np.float32), [0] * 6, 1, 0),
    "16 bits": (TensorProto.UINT16, np.float32(0.0003), 30000, None, 0),
    "4 bits": (TensorProto.INT4, np.linspace(0.1, 0.9, 6, dtype=np.float32), [1] * 6, 1, 0),
    "blocks": (TensorProto.INT8, np.linspace(0.02, 0.3, 4 * 3, dtype=np.float32).reshape(4, 3), 0, 1, 2),
    "an axis from the end": (TensorProto.INT8, np.linspace(0.02, 0.3, 4, dtype=np.float32), [3] * 4, -2, 0),
}


def model_of(
    dtype: int, scale: np.ndarray, zero: np.ndarray, axis: int | None, block: int, undo: bool
) -> onnx.ModelProto:
    attributes = ({} if axis is None else {"axis": axis}) | ({"block_size": block} if block else {})
    kinds = (dtype, TensorProto.FLOAT) if undo else (TensorProto.FLOAT, dtype)
    kind = "DequantizeLinear" if undo else "QuantizeLinear"
    graph = helper.make_graph(
        [helper.make_node(kind, ["x", "s", "z"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", kinds[0], [4, 6])],
        [helper.make_tensor_value_info("y", kinds[1], [4, 6])],
        [onnx.numpy_helper.from_array(scale, "s"), onnx.numpy_helper.from_array(zero, "z")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_as_the_operators(kind: str) -> None:
    dtype, scale, zero, axis, block = KINDS[kind]
    scale = np.asarray(scale, np.float32)
    zeros = np.broadcast_to(np.asarray(zero), scale.shape).astype(helper.tensor_dtype_to_np_dtype(dtype))
    x = (np.random.default_rng(0).standard_normal((4, 6)) * 3).astype(np.float32)
    there, back = (model_of(dtype, scale, zeros, axis, block, undo) for undo in (False, True))
    graph = build(load(there))
    grid = grid_of(graph, graph.nodes[0])
    assert grid is not None and grid.dtype == dtype
    both = onnx.compose.merge_models(there, onnx.compose.add_prefix(back, "b_"), io_map=[("y", "b_x")])
    y = onnxruntime.InferenceSession(both.SerializeToString()).run(None, {"x": x})[0]
    np.testing.assert_allclose(grid.rounded(x), y, rtol=1e-6, atol=1e-7)
    q = grid.integers(x)
    assert grid.bounds[0] <= int(q.astype(np.int64).min()) and int(q.astype(np.int64).max()) <= grid.bounds[1]


def test_ties_go_to_even_and_what_is_out_of_range_is_clipped() -> None:
    grid = Grid(TensorProto.UINT8, np.float32(1.0), np.uint8(10))
    assert grid.integers(np.float32([0.5, 1.5, -100, 1e9])).tolist() == [10, 12, 0, 255]


@pytest.mark.parametrize("zero", ["variable", "float8"])
def test_what_is_not_known_is_no_grid(zero: str) -> None:
    proto = model_of(TensorProto.UINT8, np.array(0.1, np.float32), np.array(3, np.uint8), None, 0, False)
    if zero == "variable":
        del proto.graph.initializer[1:]
        proto.graph.input.append(helper.make_tensor_value_info("z", TensorProto.UINT8, []))
    else:
        proto.graph.initializer[1].CopyFrom(helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], [0.0]))
        proto.graph.output[0].type.tensor_type.elem_type = TensorProto.FLOAT8E4M3FN
    graph = build(load(proto))
    assert grid_of(graph, graph.nodes[0]) is None
