"""What `verify` accepts of a repaired file: new weights and biases, and not one thing more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import onnxprune
from onnxprune.errors import VerificationError

ROOT = Path(__file__).resolve().parents[2]
DIGITS = ROOT / "models" / "digits.onnx"


@pytest.fixture(scope="module")
def repaired(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file whose layers got new weights and biases that the original does not have."""
    path = tmp_path_factory.mktemp("repaired") / "small.onnx"
    with np.load(ROOT / "models" / "digits_calib.npz") as file:
        onnxprune.shrink(DIGITS, path, data={"image": file["image"][:60]}, ratio=0.3)
    return path


def fitted_bias(model: onnx.ModelProto) -> onnx.TensorProto:
    """A bias that repair gave to a layer without one."""
    known = {t.name for t in onnx.load(DIGITS).graph.initializer}
    read = {node.input[2] for node in model.graph.node if node.op_type == "Conv" and len(node.input) > 2}
    return next(t for t in model.graph.initializer if t.name not in known and t.name in read)


def longer(model: onnx.ModelProto) -> None:
    bias = fitted_bias(model)
    bias.CopyFrom(numpy_helper.from_array(np.zeros(bias.dims[0] + 1, np.float32), bias.name))


def double(model: onnx.ModelProto) -> None:
    bias = fitted_bias(model)
    bias.CopyFrom(numpy_helper.from_array(np.zeros(bias.dims[0]), bias.name))


def shared(model: onnx.ModelProto) -> None:
    bias = fitted_bias(model)
    layers = [n for n in model.graph.node if n.op_type == "Conv" and len(n.input) == 3 and n.input[2] != bias.name]
    layers[0].input[2] = bias.name


def computed(model: onnx.ModelProto) -> None:
    """The bias is a value of the network, not an initializer."""
    bias = fitted_bias(model)
    layer = next(n for n in model.graph.node if bias.name in n.input)
    layer.input[2] = layer.input[0]


def surplus(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.zeros(3, np.float32), "surplus"))


def statistics(model: onnx.ModelProto) -> None:
    """Running means are nobody's weight."""
    name = next(n.input[3] for n in model.graph.node if n.op_type == "BatchNormalization")
    tensor = next(t for t in model.graph.initializer if t.name == name)
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + 1, name))


def attribute(model: onnx.ModelProto) -> None:
    layer = next(n for n in model.graph.node if n.op_type == "Conv" and len(n.input) == 3)
    layer.attribute.append(helper.make_attribute("auto_pad", "SAME_LOWER"))


def extra_node(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["logits"], ["more"]))


def test_a_repaired_file_passes(repaired: Path) -> None:
    refitted = onnxprune.verify(DIGITS, repaired).refitted
    model = onnx.load(repaired)
    kinds = ("Conv", "Gemm", "BatchNormalization")
    weights = {name for n in model.graph.node if n.op_type in kinds for name in n.input[1:3]}
    scales = {n.input[1] for n in model.graph.node if n.op_type == "BatchNormalization"}
    assert scales & set(refitted), "all weights are adjusted together"
    assert fitted_bias(model).name in refitted and set(refitted) <= weights


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (longer, "outputs"),
        (double, "outputs"),
        (shared, "not its own"),
        (computed, "not an initializer"),
        (surplus, "'surplus'"),
        (statistics, "no repair changes those"),
        (attribute, "not the one that its plan gives"),
        (extra_node, "nodes"),
    ],
)
def test_anything_else_is_refused(
    repaired: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None], message: str
) -> None:
    model = onnx.load(repaired)
    change(model)
    onnx.save(model, tmp_path / "changed.onnx")
    with pytest.raises(VerificationError, match=message):
        onnxprune.verify(DIGITS, tmp_path / "changed.onnx")
