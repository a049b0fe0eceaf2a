"""Which layers of a file compute with integers: counted from its nodes, whoever quantised it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic

import onnxprune
from onnxprune.model.cost import total
from onnxprune.model.graph import build
from onnxprune.model.infer import infer_like
from onnxprune.model.integers import IntegerShare, integer_share
from onnxprune.model.load import load
from tests.builders import MICROSOFT, Net
from tests.quantized import executed, images, quantized


def share(model: ModelProto | Path) -> IntegerShare:
    graph = build(load(model))
    return integer_share(graph, infer_like(graph, None))


def network() -> Net:
    """Convolutions, grouped ones, a sum, a classifier: 27, 9, 1 and 40 parts of the MACs."""
    net = Net(seed=0)
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 16, 3, name="a"))
    h = net.add(h, net.relu(net.conv(h, 16, 3, name="b", group=16, pads=[1, 1, 1, 1])))
    h = net.relu(net.conv(h, 8, 3, name="c"))
    net.output(net.gemm(net.op("Flatten", h), 10, name="d"))
    return net


MACS = {"a": 36 * 16 * 27, "b": 36 * 16 * 9, "c": 16 * 8 * 144, "d": 128 * 10}


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
def test_of_other_quantisers(form: QuantFormat) -> None:
    """All layers, or all but one; the runtime runs as many on integers as are counted."""
    proto = network().model()
    found = share(quantized(proto, images(), quant_format=form))
    assert found == IntegerShare(4, 4, sum(MACS.values()), sum(MACS.values()), 0) and found.share == 1.0
    some = quantized(proto, images(), quant_format=form, nodes_to_exclude=["c"])
    found = share(some)
    assert (found.layers, found.integers) == (4, 3)
    assert found.share == pytest.approx(1 - MACS["c"] / sum(MACS.values()))
    run = executed(some)
    assert run["QLinearConv"] + run.get("QGemm", 0) == found.integers


def test_of_floats_of_16_bits_and_of_weights_alone(tmp_path: Path) -> None:
    proto = network().model()
    assert share(proto) == IntegerShare(4, 0, sum(MACS.values()), 0, 0)
    wide = quantized(proto, images(), activation_type=QuantType.QUInt16)
    assert share(wide).integers == 0, "activations of 16 bits are no int8"
    onnx.save(proto, tmp_path / "m.onnx")
    onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "w.onnx", scheme="weights", weights="int8")
    assert share(tmp_path / "w.onnx").integers == 0, "stored so, and float when it is loaded"


def test_a_convolution_that_gives_floats_does_not_run_on_integers() -> None:
    """Without a quantiser behind it no runtime makes an operator on integers of it; of a product it does."""
    proto = quantized(network().model(), images())
    kept = ModelProto()
    kept.CopyFrom(proto)
    conv = next(node for node in kept.graph.node if node.name == "c")
    kept.graph.output.append(helper.make_tensor_value_info(conv.output[0], TensorProto.FLOAT, None))
    assert share(kept).integers == 3
    gemm = next(node for node in kept.graph.node if node.name == "d")
    behind = next(node for node in kept.graph.node if gemm.output[0] in node.input)
    last = next(node for node in kept.graph.node if behind.output[0] in node.input)
    last.op_type, last.input[:] = "Identity", [gemm.output[0]]
    assert share(kept).integers == 3


def test_of_dynamic_products_and_recurrences(tmp_path: Path) -> None:
    net = Net(seed=1)
    h = net.matmul(net.input(7, 64, name="x"), 64, name="one")
    weights = net.normal(1, 4 * 32, 64, scale=0.2), net.normal(1, 4 * 32, 32, scale=0.2)
    y, last = net.many("LSTM", 2, net.transpose(h, 1, 0, 2), *weights, hidden_size=32, name="lstm")
    net.output(net.matmul(y, 8, name="few"), net.matmul(last, 4, name="fewer"))
    onnx.save(net.model(), tmp_path / "m.onnx")
    steps = 7
    macs = {"one": steps * 64 * 64, "lstm": steps * 128 * 96, "few": steps * 32 * 8, "fewer": 32 * 4}
    onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "d.onnx", scheme="dynamic")
    found = share(tmp_path / "d.onnx")
    assert found.uncounted == 0 and found.macs == sum(macs.values()) == share(tmp_path / "m.onnx").macs
    assert (found.layers, found.integers, found.integer_macs) == (4, 2, macs["one"] + macs["lstm"])
    quantize_dynamic(tmp_path / "m.onnx", tmp_path / "s.onnx", per_channel=True)
    assert share(tmp_path / "s.onnx").integers == 4, "the stock quantiser takes small products as well"


@pytest.mark.parametrize(("level", "inside"), [(0, 0), (1, 0), (4, 1)])
def test_products_in_blocks_round_their_inputs_or_do_not(level: int, inside: int) -> None:
    sizes: dict[str, Any] = {"K": 64, "N": 16, "bits": 4, "block_size": 32, "accuracy_level": level}
    node = helper.make_node("MatMulNBits", ["x", "b", "s"], ["y"], domain=MICROSOFT, **sizes)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 64])]
    graph = helper.make_graph(
        [node],
        "g",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 16])],
        [
            onnx.numpy_helper.from_array(np.zeros((16, 2, 16), np.uint8), "b"),
            onnx.numpy_helper.from_array(np.ones((16, 2), np.float32), "s"),
        ],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(MICROSOFT, 1)]
    proto = helper.make_model(graph, opset_imports=opsets)
    assert share(proto) == IntegerShare(1, inside, 3 * 64 * 16, 3 * 64 * 16 * inside, 0)
    built = build(load(proto))
    assert total(built, infer_like(built, None)) == (3 * 64 * 16, 0)


def test_of_nothing() -> None:
    net = Net(seed=0)
    net.output(net.relu(net.input(3, name="x")))
    found = share(net.model())
    assert found == IntegerShare(0, 0, 0, 0, 0) and found.share == 0.0


def test_sizes_behind_operators_on_integers() -> None:
    """Joined, added and multiplied: what they give is known, and so are the MACs behind them."""
    net = Net(seed=2)
    x = net.input(3, 8, 8, name="x")
    h = net.op("Concat", net.conv(x, 4, 3), net.conv(x, 8, 3), axis=1)
    h = net.op("Mul", net.op("Sigmoid", h), net.op("LeakyRelu", h))
    net.output(net.op("Softmax", net.conv(h, 5, 3), axis=-1))
    found = share(quantized(net.model(), images(), quant_format=QuantFormat.QOperator))
    assert found.uncounted == 0 and found.macs == share(net.model()).macs and found.integers == 3
