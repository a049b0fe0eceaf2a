"""`shrink` of files that round their values in every run: products of integers are refitted as such of floats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import onnxprune
from onnxprune.model.dynamic_products import products
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.model.loosened import loosened, tightened
from onnxprune.model.plain import hoisted
from tests.builders import Array, Net

FEEDS = {"x": np.random.default_rng(1).standard_normal((200, 24)).astype(np.float32)}
CHANNEL = pytest.mark.parametrize("per_channel", [False, True])


def layer(net: Net, x: str, out: int, *, name: str = "", per_channel: bool = False, shared: Array | None = None) -> str:
    """As ONNX Runtime's quantiser writes it: the product of the scales stands right behind that of the integers."""
    q, s, z = net.many("DynamicQuantizeLinear", 3, x)
    inputs = net.channels(x, -1)
    weight = net.rng.integers(-127, 128, (inputs, out)).astype(np.int8)
    zero = np.zeros(out, np.int8) if per_channel else np.int8(3)
    scale = (net.positive(out) if per_channel else net.number(1)) * np.float32(inputs**-0.5 / 80)
    y = net.op("MatMulInteger", q, weight, z, np.asarray(zero), name=name)
    factor = net.op("Mul", s, scale if shared is None else "shared")
    return net.add(net.op("Mul", net.op("Cast", y, to=1), factor), net.normal(out))


def network(per_channel: bool = False) -> onnx.ModelProto:
    net = Net()
    h = net.relu(layer(net, net.input(24, name="x"), 96, name="a", per_channel=per_channel))
    h = net.relu(layer(net, h, 64, name="b", per_channel=per_channel))
    net.output(layer(net, h, 5, name="c", per_channel=per_channel))
    return net.model()


def images() -> onnx.ModelProto:
    """Convolutions: plain, depthwise, and one of 1 x 1."""
    net = Net()
    h = net.reshape(net.input(24, name="x"), 0, 1, 4, 6)
    for out, kernel, group in ((32, 3, 1), (32, 3, 32), (48, 1, 1)):
        q, s, z = net.many("DynamicQuantizeLinear", 3, h)
        weight = net.rng.integers(0, 256, (out, net.channels(h) // group, kernel, kernel)).astype(np.uint8)
        zero, scale = np.array(130, np.uint8), net.number(0.02 / kernel)
        y = net.op("ConvInteger", q, weight, z, zero, group=group, pads=[kernel // 2] * 4)
        y = net.op("Mul", net.op("Cast", y, to=1), net.op("Mul", s, scale))
        h = net.relu(net.add(y, net.normal(1, out, 1, 1)))
    net.output(layer(net, net.op("Flatten", net.op("GlobalAveragePool", h)), 5))
    return net.model()


def answers(proto: onnx.ModelProto) -> np.ndarray:
    return np.asarray(onnxruntime.InferenceSession(proto.SerializeToString()).run(None, FEEDS)[0])


@CHANNEL
def test_the_second_form_computes_nearly_the_same(per_channel: bool) -> None:
    model = load(network(per_channel))
    plain = hoisted(loosened(model))
    assert [node.op_type for node in plain.proto.graph.node].count("MatMul") == 3
    wanted = answers(model.complete_proto())
    assert np.abs(answers(plain.complete_proto()) - wanted).max() < 0.05 * np.abs(wanted).max()


@CHANNEL
def test_there_and_back_nothing_changes(per_channel: bool) -> None:
    model = load(network(per_channel))
    again = tightened(loosened(model), model)
    assert again.proto == model.proto and again.tensors.keys() == model.tensors.keys()


def test_a_scale_that_two_products_share_is_none_of_theirs() -> None:
    net = Net()
    net.tensors.append(onnx.numpy_helper.from_array(np.float32(0.01), "shared"))
    x = net.input(24, name="x")
    net.output(net.add(layer(net, x, 8, shared=np.zeros(0)), layer(net, x, 8, shared=np.zeros(0))))
    assert not products(build(load(net.model())))


def test_a_product_whose_integers_are_an_output_stays() -> None:
    net = Net()
    net.output(layer(net, net.input(24, name="x"), 8, name="a"))
    product = next(node for node in net.nodes if node.op_type == "MatMulInteger")
    net.output(product.output[0], dtype=np.int32)
    assert not products(build(load(net.model())))


def test_convolutions_have_a_second_form_as_well() -> None:
    model = load(images())
    again = tightened(loosened(model), model)
    assert again.proto == model.proto and len(products(build(model))) == 4
    wanted = answers(model.complete_proto())
    found = answers(hoisted(loosened(model)).complete_proto())
    assert np.abs(found - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("proto", [network(), network(True), images()], ids=["plain", "channel", "images"])
def test_a_repair_fits_them_and_writes_integers(tmp_path: Path, proto: onnx.ModelProto) -> None:
    source = tmp_path / "dynamic.onnx"
    onnx.save(proto, source)
    wanted, errors = answers(onnx.load(source)), {}
    for repair in ("none", "least-squares", "reconstruct"):
        target = tmp_path / f"{repair}.onnx"
        result = onnxprune.shrink(source, target, data=FEEDS, ratio=0.5, repair=repair)
        assert result.proof is not None and result.reached_ratio > 0.3
        assert any("what reads it computes with integers, which samples do not judge" in note for note in result.notes)
        assert bool(onnxprune.verify(source, target).refitted) == (repair != "none")
        before, after = ([node.op_type for node in onnx.load(path).graph.node] for path in (source, target))
        assert before == after
        errors[repair] = float(np.square(answers(onnx.load(target)) - wanted).mean())
    assert errors["reconstruct"] <= 1.05 * errors["least-squares"] < 0.6 * errors["none"]
