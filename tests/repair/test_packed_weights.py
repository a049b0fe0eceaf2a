"""`shrink` of files with packed weights (MatMulNBits): refitted on their own grids, and written packed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxprune
from onnxprune.errors import VerificationError
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.model.loosened import loosened, tightened
from onnxprune.model.plain import hoisted, stored_grids
from tests.builders import MICROSOFT, Array, Net

BLOCK, INPUTS = 16, 44
FEEDS = {"x": np.random.default_rng(1).standard_normal((200, INPUTS)).astype(np.float32)}


def layer(net: Net, x: str, inputs: int, outputs: int, *, bits: int = 4, zero: bool = False, **how: bool) -> str:
    blocks = -(-inputs // BLOCK)
    weight = net.rng.integers(0, 256, (outputs, blocks, BLOCK * bits // 8), np.uint8)
    scale: Array = net.positive(outputs * blocks) * np.float32(0.6 / 2**bits)
    if how.get("dead"):
        scale[3] = 0.0
    parts: list[Array | None] = [weight, scale if how.get("flat") else scale.reshape(outputs, blocks)]
    parts += [np.full((outputs, -(-blocks * bits // 8)), 0x77, np.uint8)] if zero else [None] * bool(how.get("bias"))
    parts += [None, net.normal(outputs)] if how.get("bias") else []
    sizes = {"K": inputs, "N": outputs, "bits": bits, "block_size": BLOCK}
    return net.op("MatMulNBits", x, *parts, domain=MICROSOFT, **sizes)


def network(bits: int = 4, zero: bool = False, flat: bool = False) -> onnx.ModelProto:
    net = Net()
    h = net.relu(layer(net, net.input(INPUTS, name="x"), INPUTS, 96, bits=bits, zero=zero, flat=flat))
    h = net.relu(layer(net, h, 96, 64, bits=bits, zero=zero, flat=flat))
    net.output(layer(net, h, 64, 5, bits=bits, zero=zero, flat=flat), rank=2)
    return net.model()


EVERY = pytest.mark.parametrize(("bits", "zero", "flat"), [(4, False, False), (4, True, True), (8, True, False)])


def answers(proto: onnx.ModelProto) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, FEEDS)[0])


@EVERY
def test_the_second_form_computes_the_same(bits: int, zero: bool, flat: bool) -> None:
    model = load(network(bits, zero, flat))
    plain = hoisted(loosened(model))
    assert {node.op_type for node in plain.proto.graph.node} == {"MatMul", "Relu"}
    assert np.allclose(answers(plain.complete_proto()), answers(model.complete_proto()), atol=1e-4)
    assert {grid.block for grid in stored_grids(loosened(model)).values()} == {BLOCK}


@EVERY
def test_there_and_back_nothing_changes(bits: int, zero: bool, flat: bool) -> None:
    model = load(network(bits, zero, flat))
    again = tightened(loosened(model), model)
    assert again.proto == model.proto and again.tensors.keys() == model.tensors.keys()
    assert all(np.array_equal(again.tensors[name].array(), t.array()) for name, t in model.tensors.items())


@pytest.mark.parametrize("how", ["bias", "dead"])
def test_what_the_second_form_cannot_say_stays_packed(how: str) -> None:
    """A bias of its own, a scale of zero."""
    net = Net()
    net.output(layer(net, net.input(32), 32, 8, **{how: True}), rank=2)
    model = load(net.model())
    assert loosened(model) is model and tightened(model, model) is model


@EVERY
def test_a_repair_fits_them_and_writes_them_packed(tmp_path: Path, bits: int, zero: bool, flat: bool) -> None:
    source = tmp_path / "packed.onnx"
    onnx.save(network(bits, zero, flat), source)
    wanted, errors = answers(onnx.load(source)), {}
    for repair in ("none", "least-squares", "reconstruct"):
        target = tmp_path / f"{repair}.onnx"
        result = onnxprune.shrink(source, target, data=FEEDS, ratio=0.5, repair=repair)
        assert result.proof is not None and result.reached_ratio > 0.3
        assert bool(onnxprune.verify(source, target).refitted) == (repair != "none")
        proto = onnx.load(target)
        assert [node.op_type for node in proto.graph.node].count("MatMulNBits") == 3
        assert {t.data_type for t in proto.graph.initializer} == {onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT}
        errors[repair] = float(np.square(answers(proto) - wanted).mean())
    assert errors["reconstruct"] <= 1.05 * errors["least-squares"] < 0.5 * errors["none"]


def _zeros_moved(model: Model) -> str:
    """The zero points of a layer."""
    return next(node.inputs[3] for node in build(model).nodes if node.op_type == "MatMulNBits")


def test_a_file_may_have_no_other_zero_points(tmp_path: Path) -> None:
    source, target = tmp_path / "packed.onnx", tmp_path / "small.onnx"
    onnx.save(network(4, True), source)
    onnxprune.shrink(source, target, data=FEEDS, ratio=0.5, repair="least-squares")
    proto = onnx.load(target)
    name = _zeros_moved(load(target))
    tensor = next(t for t in proto.graph.initializer if t.name == name)
    tensor.raw_data = bytes(len(tensor.raw_data))
    onnx.save(proto, target)
    with pytest.raises(VerificationError, match="has other values, and no repair changes those"):
        onnxprune.verify(source, target)
