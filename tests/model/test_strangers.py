"""Operators that ONNX Runtime cannot know, wherever in a model they are."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

from onnxprune.errors import ModelError
from onnxprune.model.load import load
from onnxprune.model.strangers import KNOWN, require_known, strangers, unknown


def odd(name: str = "odd", op: str = "Odd", output: str = "y") -> list:
    return [helper.make_node(op, ["x"], [output], name=name, domain="com.acme")]


def model(nodes: list, functions: list | None = None, outputs: tuple[str, ...] = ("y",)) -> ModelProto:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in outputs]
    given = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2]),
        helper.make_tensor_value_info("c", TensorProto.BOOL, []),
    ]
    graph = helper.make_graph(nodes, "g", given, values)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=functions or [])


def function(name: str, nodes: list) -> object:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.acme", 1)]
    return helper.make_function("com.acme", name, ["x"], ["y"], nodes, opsets)


def relu(output: str = "y") -> list:
    return [helper.make_node("Relu", ["x"], [output])]


def branches(then: list, other: list) -> list:
    def body(nodes: list, name: str) -> object:
        out = [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)]
        return helper.make_graph(nodes, name, [], out)

    return [helper.make_node("If", ["c"], ["y"], then_branch=body(then, "t"), else_branch=body(other, "e"))]


CASES = {
    "in the graph": (model(odd()), {"com.acme:Odd": "odd"}),
    "without a name": (model(odd("")), {"com.acme:Odd": "y"}),
    "in a branch": (model(branches(odd("inner", output="t"), relu("e"))), {"com.acme:Odd": "inner"}),
    "in the branch of a branch": (
        model(branches(branches(relu("u"), odd("deep", output="v")), relu("e"))),
        {"com.acme:Odd": "deep"},
    ),
    "in a function": (model(odd(op="Even"), [function("Even", odd("within"))]), {"com.acme:Odd": "within"}),
    "defined by a function": (model(odd(op="Even"), [function("Even", relu())]), {}),
    "none": (model(relu()), {}),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_found_and_nothing_else(name: str) -> None:
    """ONNX Runtime agrees: what has one cannot be loaded, what has none can."""
    proto, expected = CASES[name]
    assert strangers(proto) == expected
    if expected:
        with pytest.raises(Exception, match=r"com\.acme"):
            onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        with pytest.raises(ModelError, match=r"model cannot be run: ONNX Runtime does not know com.acme:Odd \(node "):
            require_known(load(proto))
    else:
        onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
        require_known(load(proto))


def test_what_onnx_runtime_knows_is_known() -> None:
    assert {schema.domain for schema in get_all_operator_schema()} <= KNOWN


def test_many_are_counted() -> None:
    nodes = [odd(f"n{k}", f"Odd{k}", "y" if k == 4 else f"y{k}")[0] for k in range(5)]
    words = unknown(load(model(nodes)))
    assert words is not None and "(node 'n2'), and 2 more" in words and "n3" not in words


def test_a_weight_may_have_any_name() -> None:
    """Only operators count."""
    proto = model(relu())
    proto.graph.initializer.append(numpy_helper.from_array(np.zeros(2, np.float32), "com.acme:Odd"))
    assert strangers(proto) == {}
