"""Graphsurgeon graphs: what its export drops must survive the way there and back."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from onnxprune.model import Model, load
from tests.model.builders import annotated_model


def test_a_graphsurgeon_round_trip_keeps_metadata_and_annotations() -> None:
    proto = annotated_model()
    model = load(proto)
    back = Model.from_graph(model.to_graph()).complete_proto()

    assert back.domain == "org.example" and back.model_version == 7 and back.doc_string == "model doc"
    assert [(e.key, e.value) for e in back.metadata_props] == [("author", "me"), ("task", "test")]
    assert [(e.key, e.value) for e in back.graph.metadata_props] == [("graph", "note")]
    assert back.graph.doc_string == "graph doc"
    assert [a.tensor_name for a in back.graph.quantization_annotation] == ["y"]
    node = next(node for node in back.graph.node if node.op_type == "MatMul")
    assert node.doc_string == "node doc" and node.metadata_props[0].key == "node"
    tensor = next(t for t in back.graph.initializer if t.name == "w")
    assert tensor.doc_string == "tensor doc" and tensor.metadata_props[0].key == "tensor"
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), model.tensors["w"].array())
    assert len(back.training_info) == 1 and len(back.functions) == 1
    onnx.checker.check_model(back)


def test_an_edited_graph_keeps_what_still_has_a_place() -> None:
    graph = load(annotated_model()).to_graph()
    graph.tensors()["w"].values = np.ones((3, 4), np.float32)
    model = Model.from_graph(graph)
    np.testing.assert_array_equal(model.tensors["w"].array(), 1)
    assert model.tensors["w"].to_proto().doc_string == "tensor doc"


def test_a_foreign_graphsurgeon_graph_loads() -> None:
    import onnx_graphsurgeon as gs

    x = gs.Variable("x", np.float32, (1, 3))
    y = gs.Variable("y", np.float32, (1, 4))
    weight = gs.Constant("w", np.ones((3, 4), np.float32))
    graph = gs.Graph([gs.Node("MatMul", inputs=[x, weight], outputs=[y])], [x], [y], opset=17)
    model = Model.from_graph(graph)
    assert list(model.tensors) == ["w"] and model.opset() == 17


def test_bfloat16_and_int4_survive_graphsurgeon() -> None:
    tensors = [
        helper.make_tensor("b", TensorProto.BFLOAT16, [2], np.array([0x3F80, 0x4000], "<u2").tobytes(), raw=True),
        helper.make_tensor("i", TensorProto.INT4, [3], b"\x21\x07", raw=True),
    ]
    nodes = [helper.make_node("Identity", [name], [f"{name}_out"]) for name in ("b", "i")]
    outputs = [
        helper.make_tensor_value_info("b_out", TensorProto.BFLOAT16, [2]),
        helper.make_tensor_value_info("i_out", TensorProto.INT4, [3]),
    ]
    graph = helper.make_graph(nodes, "g", [], outputs, tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    back = Model.from_graph(load(proto).to_graph())
    assert bytes(back.tensors["i"].payload()) == b"\x21\x07"
    assert back.tensors["b"].dtype == TensorProto.BFLOAT16
