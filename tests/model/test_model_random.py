"""Two models that draw numbers draw the same ones once they are seeded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from onnxprune.model.random import is_random, seeded

X = np.linspace(0.1, 0.9, 40, dtype=np.float32).reshape(2, 20)


def model(op_type: str, extra: int = 0, **attributes: Any) -> onnx.ModelProto:
    """One drawing node behind `extra` others, by which ONNX Runtime seeds it otherwise."""
    names = [f"i{k}" for k in range(extra)]
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in names]
    inputs = {"RandomNormal": [], "RandomUniform": [], "Dropout": ["x", "half", "on"]}.get(op_type, ["x"])
    nodes.append(helper.make_node(op_type, inputs, ["y"], **attributes))
    kind = TensorProto.INT32 if op_type == "Multinomial" else TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 20])],
        [helper.make_tensor_value_info(name, k, None) for name, k in [("y", kind), *((n, 1) for n in names)]],
        [helper.make_tensor("half", TensorProto.FLOAT, [], [0.5]), helper.make_tensor("on", TensorProto.BOOL, [], [1])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def drawn(proto: onnx.ModelProto) -> NDArray[Any]:
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    result: NDArray[Any] = session.run(["y"], {"x": X})[0]
    return result


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("RandomNormalLike", {}),
        ("RandomUniformLike", {}),
        ("RandomNormal", {"shape": [2, 20]}),
        ("RandomUniform", {"shape": [2, 20]}),
        ("Bernoulli", {}),
        ("Multinomial", {"sample_size": 30}),
        ("Dropout", {}),
    ],
)
def test_seeded_models_draw_alike(op_type: str, attributes: dict[str, Any]) -> None:
    a, b = model(op_type, **attributes), model(op_type, extra=3, **attributes)
    assert is_random(a)
    assert not np.array_equal(drawn(a), drawn(b))
    assert np.array_equal(drawn(seeded(a)), drawn(seeded(b)))
    assert a == model(op_type, **attributes)


def test_a_seed_of_its_own_stays_and_others_are_left_alone() -> None:
    own = model("RandomNormalLike", seed=3.0)
    assert seeded(own) is own
    plain = model("Relu")
    assert not is_random(plain) and seeded(plain) is plain


def test_bodies_are_seeded() -> None:
    body = model("RandomNormal", shape=[2, 20]).graph
    del body.input[:]
    choice = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=body)
    flag = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, None)
    outer = helper.make_model(helper.make_graph([choice], "g", [flag], [result]))
    assert is_random(outer)
    inner = seeded(outer).graph.node[0].attribute[0].g.node[0]
    assert {a.name for a in inner.attribute} == {"shape", "seed"}
