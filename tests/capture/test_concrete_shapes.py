"""Shapes for feeds of known sizes: inferred where possible, measured where the graph computes them from data."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper

from onnxprune.capture.shapes import concrete_shapes


def model() -> onnx.ModelProto:
    """Symbolic batch and sizes; behind NonZero nothing is known before it runs."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Shape", ["a"], ["size"]),
        helper.make_node("Reshape", ["a", "size"], ["b"]),
        helper.make_node("NonZero", ["b"], ["where"]),
        helper.make_node("Cast", ["where"], ["y"], to=TensorProto.DOUBLE),
    ]
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "h"])
    graph = helper.make_graph(nodes, "g", [value], [helper.make_tensor_value_info("y", TensorProto.DOUBLE, None)])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_shapes_and_types_of_all_values() -> None:
    x = np.ones((2, 3, 4), np.float32)
    x[0, 0, 0] = -1
    proto = model()
    before = proto.SerializeToString()
    shapes, types = concrete_shapes(proto, {"x": x})
    assert shapes == {"x": (2, 3, 4), "a": (2, 3, 4), "size": (3,), "b": (2, 3, 4), "where": (3, 23), "y": (3, 23)}
    assert types["a"] == TensorProto.FLOAT and types["where"] == TensorProto.INT64 and types["y"] == TensorProto.DOUBLE
    assert proto.SerializeToString() == before


def test_recorded_shapes_of_other_sizes_do_not_matter() -> None:
    proto = model()
    proto.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 3, 224]))
    shapes, _ = concrete_shapes(proto, {"x": np.ones((2, 3, 4), np.float32)})
    assert shapes["a"] == (2, 3, 4)
