"""`diff`: every kind of difference is found, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import onnxprune
from onnxprune.results import Difference

Change = Callable[[onnx.ModelProto], object]


def _model() -> onnx.ModelProto:
    """x [n, 4] -> MatMul, Relu, If (a body with an initializer of its own) -> y."""
    body = helper.make_graph(
        [helper.make_node("Add", ["h", "inner"], ["r"], name="add")],
        "body",
        [],
        [helper.make_tensor_value_info("r", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ones(3, np.float32), "inner")],
    )
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["m"], name="matmul"),
        helper.make_node("LeakyRelu", ["m"], ["h"], name="relu", alpha=0.1),
        helper.make_node("If", ["c"], ["y"], name="choice", then_branch=body, else_branch=body),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4]),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(np.array([[np.nan, 1, 2]] * 4, np.float32), "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _diff(folder: Path, change: Change | None = None) -> Difference:
    a, b = _model(), _model()
    if change is not None:
        change(b)
    onnx.save(a, folder / "a.onnx")
    onnx.save(b, folder / "b.onnx")
    return onnxprune.diff(folder / "a.onnx", folder / "b.onnx")


def _weights(array: np.ndarray, name: str = "w") -> Change:
    return lambda m: m.graph.initializer[0].CopyFrom(numpy_helper.from_array(array, name))


def test_nothing_differs(tmp_path: Path) -> None:
    found = _diff(tmp_path)
    assert found.same and not found.tensors, "NaN is the same as NaN"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: setattr(m.graph.input[0].type.tensor_type.shape.dim[0], "dim_value", 2), "input 'x': FLOAT [n, 4]"),
        (lambda m: m.opset_import.append(helper.make_opsetid("acme", 2)), "operator set 'acme': only in b"),
        (lambda m: setattr(m, "ir_version", 9), "IR version: 8 in a, 9 in b"),
        (lambda m: m.graph.input.reverse(), "the order of inputs: x, c in a, c, x in b"),
    ],
)
def test_signature(tmp_path: Path, change: Change, said: str) -> None:
    found = _diff(tmp_path, change)
    assert len(found.signature) == 1 and found.signature[0].startswith(said)
    assert not (found.metadata or found.nodes or found.tensors)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.metadata_props.add(key="k", value="v"), "metadata 'k': only in b"),
        (lambda m: setattr(m, "producer_name", "p"), "producer_name: nothing in a, p in b"),
        (lambda m: setattr(m.graph, "doc_string", "d"), "graph doc_string: nothing in a, d in b"),
        (
            lambda m: m.graph.value_info.append(helper.make_tensor_value_info("m", TensorProto.FLOAT, ["n", 3])),
            "annotations of values (type, shape, quantization): 1 differ",
        ),
    ],
)
def test_metadata(tmp_path: Path, change: Change, said: str) -> None:
    found = _diff(tmp_path, change)
    assert found.metadata == (said,)
    assert not (found.signature or found.nodes or found.tensors)


def _in_body(m: onnx.ModelProto) -> None:
    for attribute in m.graph.node[2].attribute:
        attribute.g.node[0].op_type = "Sub"


@pytest.mark.parametrize(
    ("change", "name", "said"),
    [
        (lambda m: setattr(m.graph.node[1].attribute[0], "f", 0.5), "relu", "alpha 0.1"),
        (lambda m: m.graph.node[1].ClearField("attribute"), "relu", "attribute alpha only in a"),
        (lambda m: setattr(m.graph.node[1], "op_type", "Elu"), "relu", "operator :LeakyRelu -> :Elu"),
        (_in_body, "add", "operator :Add -> :Sub"),
    ],
)
def test_nodes(tmp_path: Path, change: Change, name: str, said: str) -> None:
    found = _diff(tmp_path, change)
    assert {node.name for node in found.nodes} == {name}
    assert all(node.what.startswith(said) for node in found.nodes)
    assert not (found.signature or found.metadata or found.tensors)


@pytest.mark.parametrize(
    ("array", "largest"),
    [
        (np.array([[np.nan, 1, 2.5]] * 4, np.float32), 0.5),
        (np.array([[0, 1, 2]] * 4, np.float32), np.inf),
        (np.array([[np.nan, 1, np.inf]] * 4, np.float32), np.inf),
        (np.zeros((4, 2), np.float32), None),
    ],
)
def test_values(tmp_path: Path, array: np.ndarray, largest: float | None) -> None:
    found = _diff(tmp_path, _weights(array))
    assert [(t.name, t.shape_a, t.shape_b, t.max_difference) for t in found.tensors] == [
        ("w", (4, 3), array.shape, largest)
    ]
    assert not (found.signature or found.metadata or found.nodes)


def test_element_types(tmp_path: Path) -> None:
    found = _diff(tmp_path, _weights(np.array([[np.nan, 1, 2]] * 4, np.float16)))
    assert found.metadata == ("type of initializer 'w': FLOAT in a, FLOAT16 in b",)
    assert [t.max_difference for t in found.tensors] == [0.0]


def test_names(tmp_path: Path) -> None:
    def rename(m: onnx.ModelProto) -> None:
        m.graph.initializer[0].name = m.graph.node[0].input[1] = "v"

    found = _diff(tmp_path, rename)
    assert [(t.name, t.shape_a, t.shape_b) for t in found.tensors] == [("w", (4, 3), None), ("v", None, (4, 3))]
    assert [node.what for node in found.nodes] == ["input 1: w -> v"]
