"""Weights in Constant nodes, and what graphs make of constants by operators that can be undone: repaired like
initializers, written where they were, and accepted by `verify`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import onnxprune
from onnxprune.errors import VerificationError
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.model.plain import hoisted, lowered, settable
from tests.builders import Net

Array = NDArray[Any]
COMPUTED = ("transpose", "cast", "joined", "shaped", "scaled", "shifted")
SPELLINGS = ("constant", "identity", "floats", *COMPUTED)
X = np.random.default_rng(1).standard_normal((60, 2, 6, 6)).astype(np.float32)


def network(spelling: str) -> onnx.ModelProto:
    """Convolutions and products; all weights are exact in float16."""
    net = Net(weights=spelling if spelling in ("constant", "identity") else "initializer")
    x = net.input(2, 6, 6, name="x")
    h = net.relu(net.conv(x, 8, 3, pads=[1, 1, 1, 1]))
    h = net.relu(net.conv(h, 8, 3, bias=False, pads=[1, 1, 1, 1]))
    h = net.op("Mul", h, net.constant(np.float32([1.5])))
    h = net.op("Flatten", net.op("GlobalAveragePool", h))
    net.output(net.gemm(net.relu(net.gemm(h, 8)), 4))
    model = net.model()
    rounded(model)
    if spelling in COMPUTED:
        behind(model, spelling)
    if spelling == "floats":
        as_floats(model)
    return model


def tensors_of(model: onnx.ModelProto) -> list[onnx.TensorProto]:
    found = [a.t for n in model.graph.node if n.op_type == "Constant" for a in n.attribute]
    return [t for t in (*model.graph.initializer, *found) if t.data_type == TensorProto.FLOAT]


def rounded(model: onnx.ModelProto) -> None:
    for tensor in tensors_of(model):
        array = numpy_helper.to_array(tensor).astype(np.float16).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def behind(model: onnx.ModelProto, how: str) -> None:
    """Every initializer of a layer reaches it through one more node."""
    model.graph.initializer.append(numpy_helper.from_array(np.array([0.5], np.float32), "half"))
    for tensor in tensors_of(model)[:-1]:
        array, name = numpy_helper.to_array(tensor), tensor.name
        if how == "cast":
            node = helper.make_node("Cast", [f"{name}_raw"], [name], to=TensorProto.FLOAT)
            array = array.astype(np.float16)
        elif how == "joined":
            if array.ndim < 4:  # parts of channels would be groups of their own
                continue
            node = helper.make_node("Concat", [f"{name}_raw", f"{name}_rest"], [name], axis=3)
            model.graph.initializer.append(numpy_helper.from_array(array[..., 1:].copy(), f"{name}_rest"))
            array = array[..., :1]
        elif how == "shaped":
            node = helper.make_node("Reshape", [f"{name}_raw", f"{name}_shape"], [name])
            sizes = np.array(array.shape, np.int64)
            model.graph.initializer.append(numpy_helper.from_array(sizes, f"{name}_shape"))
            array = array[None]
        elif how in ("scaled", "shifted"):
            if array.size < 2:
                continue
            node = helper.make_node("Mul" if how == "scaled" else "Add", ["half", f"{name}_raw"], [name])
            array = 2 * array if how == "scaled" else array - np.float32(0.5)
        else:
            node, array = helper.make_node("Transpose", [f"{name}_raw"], [name]), array.T
        model.graph.node.insert(0, node)
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), f"{name}_raw"))


def as_floats(model: onnx.ModelProto) -> None:
    """Biases become Constant nodes with a list of numbers."""
    for tensor in [t for t in model.graph.initializer if len(t.dims) == 1]:
        values = numpy_helper.to_array(tensor).tolist()
        model.graph.node.insert(0, helper.make_node("Constant", [], [tensor.name], value_floats=values))
        model.graph.initializer.remove(tensor)


def answer(model: Model | Path) -> Array:
    data = str(model) if isinstance(model, Path) else model.complete_proto().SerializeToString()
    return np.asarray(onnxruntime.InferenceSession(data).run(None, {"x": X})[0])


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_working_form_computes_the_same_and_is_undone(spelling: str) -> None:
    model = load(network(spelling))
    working = hoisted(model)
    assert not {"Constant", "Identity", "Transpose", "Cast", "Concat", "Reshape"} & {
        n.op_type for n in working.proto.graph.node
    }
    np.testing.assert_allclose(answer(working), answer(model), rtol=1e-5, atol=1e-6)
    same = lowered(model, working)
    assert same.complete_proto().SerializeToString() == model.complete_proto().SerializeToString()
    stays = {name for name, t in working.tensors.items() if t.dtype != TensorProto.FLOAT} | {"half"}
    doubled = {name: t if name in stays else t.with_array(2 * t.array()) for name, t in working.tensors.items()}
    back = lowered(model, working.replace(working.proto, doubled))
    assert [n.op_type for n in back.proto.graph.node] == [n.op_type for n in model.proto.graph.node]
    again = hoisted(back)
    assert set(again.tensors) == set(doubled)
    for name, tensor in again.tensors.items():
        np.testing.assert_allclose(tensor.array(), doubled[name].array(), atol=1e-6 if spelling == "shifted" else 0)


@pytest.mark.parametrize("repair", ["bias", "least-squares", "reconstruct"])
def test_repair_does_not_care_how_weights_are_written(repair: str, tmp_path: Path) -> None:
    answers = {}
    for spelling in ("initializer", *SPELLINGS):
        source, target = tmp_path / f"{spelling}.onnx", tmp_path / f"{spelling}.small.onnx"
        onnx.save(network(spelling), source)
        result = onnxprune.shrink(source, target, data={"x": X}, criterion="l1", ratio=0.4, repair=repair)
        assert result.repair is not None
        if repair != "bias":
            assert not result.repair.skipped and result.repair.corrected_layers == 3
            assert onnxprune.verify(source, target).refitted
        answers[spelling] = answer(target)
    for spelling in SPELLINGS:
        # float16 in the file is rounded after the fit
        loose = 0.02 if spelling == "cast" else 1e-4
        scale = np.abs(answers["initializer"]).max()
        assert np.abs(answers[spelling] - answers["initializer"]).max() < loose * scale, spelling


def test_a_constant_that_feeds_two_weights_stays() -> None:
    net = Net()
    x = net.input(4, name="x")
    raw = net.constant(np.eye(4, dtype=np.float32))
    first, second = net.op("Identity", raw), net.op("Identity", raw)
    net.output(net.op("MatMul", net.op("MatMul", x, first), second))
    model = load(net.model())
    assert hoisted(model) is model
    assert not settable(build(model), first)


def test_a_constant_that_is_an_output_stays() -> None:
    net = Net(weights="constant")
    x = net.input(4, name="x")
    weight = net.constant(np.eye(4, dtype=np.float32))
    net.output(net.op("MatMul", x, weight), weight)
    model = load(net.model())
    assert hoisted(model) is model


def constant(model: onnx.ModelProto, op_type: str, slot: int) -> onnx.NodeProto:
    name = next(n.input[slot] for n in model.graph.node if n.op_type == op_type)
    return next(n for n in model.graph.node if n.output[0] == name)


def scale(model: onnx.ModelProto) -> None:
    """A factor is nobody's weight."""
    constant(model, "Mul", 1).attribute[0].t.CopyFrom(numpy_helper.from_array(np.float32([2.0]), "factor"))


def longer(model: onnx.ModelProto) -> None:
    tensor = constant(model, "Conv", 2).attribute[0].t
    tensor.CopyFrom(numpy_helper.from_array(np.zeros(tensor.dims[0] + 1, np.float32), tensor.name))


def double(model: onnx.ModelProto) -> None:
    tensor = constant(model, "Conv", 1).attribute[0].t
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def renamed(model: onnx.ModelProto) -> None:
    constant(model, "Conv", 1).name = "another"


@pytest.mark.parametrize("change", [scale, longer, double, renamed])
def test_verify_accepts_nothing_else_of_a_constant(change: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    source, target = tmp_path / "source.onnx", tmp_path / "small.onnx"
    onnx.save(network("constant"), source)
    onnxprune.shrink(source, target, data={"x": X}, criterion="l1", ratio=0.4, repair="least-squares")
    model = onnx.load(target)
    change(model)
    onnx.save(model, target)
    with pytest.raises(VerificationError, match="not the one that its plan gives"):
        onnxprune.verify(source, target)


@pytest.mark.parametrize("spelling", ["initializer", "constant", "identity"])
def test_old_files_declare_what_repair_adds(spelling: str, tmp_path: Path) -> None:
    """Before IR version 4 every initializer is a graph input as well."""
    net = Net(opset=7, weights=spelling)
    h = net.relu(net.conv(net.input(2, 6, 6, name="x"), 8, 3))
    net.output(net.conv(net.relu(net.conv(h, 8, bias=False)), 3))
    source, target = tmp_path / "source.onnx", tmp_path / "small.onnx"
    onnx.save(net.model(), source)
    result = onnxprune.shrink(source, target, data={"x": X}, criterion="l1", ratio=0.4, repair="least-squares")
    assert result.proof is not None and result.proof.checker_ok
    assert any(name.endswith(".bias.fitted") for name in onnxprune.verify(source, target).refitted)
