"""Dynamic quantisation: what runs in integers, what it computes, and why the rest does not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime.quantization import quantize_dynamic

import onnxprune
from onnxprune.capture.samples import open_samples
from onnxprune.model.load import load
from onnxprune.quantizing.dynamic import dynamic
from onnxprune.quantizing.weights import WeightsOnly
from onnxprune.trace import trace_model
from tests.builders import MICROSOFT, Net
from tests.oracle import session

Array = np.ndarray[Any, Any]
NO_WEIGHT = "it has no weight: both of its inputs are computed"


def quantised(net: Net, feed: Mapping[str, Array] | None = None, **options: Any) -> WeightsOnly:
    trace = trace_model(load(net.model()))
    return dynamic(trace, None if feed is None else open_samples(feed, trace), **options)


def fused(proto: onnx.ModelProto, path: Path) -> Counter[str]:
    """The operators of the session."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path / "optimised.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return Counter(node.op_type for node in onnx.load(path / "optimised.onnx").graph.node)


def block(net: Net, x: str, width: int) -> str:
    """A layer of a transformer, normalised behind its shortcuts."""
    q, k, v = (net.dense(x, width, name=f"{name}{len(net.nodes)}") for name in "qkv")
    weights = net.softmax(net.op("MatMul", q, net.transpose(k, 0, 2, 1), name=f"qk{len(net.nodes)}"))
    mixed = net.dense(net.op("MatMul", weights, v, name=f"av{len(net.nodes)}"), width)
    x = net.op("LayerNormalization", net.add(x, mixed), net.positive(width), net.normal(width), axis=-1)
    inner = net.dense(x, 4 * width)
    grown = net.add(net.op("Erf", net.op("Div", inner, net.number(np.sqrt(2)))), net.number(1.0))
    inner = net.op("Mul", inner, net.op("Mul", net.number(0.5), grown))
    total = net.add(x, net.dense(inner, width))
    return net.op("LayerNormalization", total, net.positive(width), net.normal(width), axis=-1)


@pytest.fixture(scope="module")
def transformer() -> tuple[Net, dict[str, Array]]:
    net = Net(seed=0)
    h = net.input(7, 64, name="x")
    for _ in range(2):
        h = block(net, h, 64)
    net.output(net.gemm(net.op("Flatten", h), 10, name="head"))
    rng = np.random.default_rng(1)
    mixed = rng.standard_normal((12, 64)) * np.exp(0.5 * rng.standard_normal(64))
    return net, {"x": (rng.standard_normal((200, 7, 12)) @ mixed).astype(np.float32)}


def test_what_the_session_makes_of_it(transformer: tuple[Net, dict[str, Array]], tmp_path: Path) -> None:
    net, feed = transformer
    done = quantised(net, feed)
    proto = done.model.complete_proto()
    onnx.checker.check_model(proto)
    found = fused(proto, tmp_path)
    # q, k and v read one input, and share its rounding
    assert found["DynamicQuantizeMatMul"] == 6 + 1 and found["MatMulIntegerToFloat"] == 6
    assert found["DynamicQuantizeLinear"] == 2
    assert found["MatMulInteger"] == found["SkipLayerNormalization"] == found["Erf"] == 0
    kinds = Counter((layer.operator, layer.kind, layer.reason) for layer in done.layers)
    assert kinds == {
        ("MatMul", "dynamic int8", None): 12,
        ("Gemm", "dynamic int8", None): 1,
        ("MatMul", None, NO_WEIGHT): 4,
    }


def test_the_twin_is_what_it_computes(transformer: tuple[Net, dict[str, Array]]) -> None:
    """Up to the rounding of float, and what of it decides a rounding to integers."""
    net, feed = transformer
    done = quantised(net, feed)
    few = {"x": feed["x"][:20]}
    found, twin, wanted = (
        session(one).run(None, few)[0] for one in (done.model.complete_proto(), done.twin.complete_proto(), net.model())
    )
    scale = np.square(wanted - wanted.mean(0)).sum()
    assert np.square(found - twin).sum() < 0.1 * np.square(found - wanted).sum()
    assert 0 < np.square(found - wanted).sum() < 0.04 * scale


def test_better_than_the_stock_quantiser(transformer: tuple[Net, dict[str, Array]], tmp_path: Path) -> None:
    net, feed = transformer
    onnx.save(net.model(), tmp_path / "m.onnx")
    fit, judge = {"x": feed["x"][:150]}, {"x": feed["x"][150:]}
    wanted = session(net.model()).run(None, judge)[0]
    quantize_dynamic(tmp_path / "m.onnx", tmp_path / "q.onnx", per_channel=True)
    protos = {
        "stock": onnx.load(tmp_path / "q.onnx"),
        "nearest": quantised(net, fit, rounding="nearest").model.complete_proto(),
        "moments": quantised(net, fit).model.complete_proto(),
    }
    errors = {name: np.square(session(one).run(None, judge)[0] - wanted).sum() for name, one in protos.items()}
    assert errors["nearest"] < 1.2 * errors["stock"]
    assert errors["moments"] < 0.8 * errors["stock"]


@pytest.mark.parametrize("with_samples", [False, True])
@pytest.mark.parametrize("form", ["transB", "alpha", "bias", "shared"])
def test_forms_of_gemm(form: str, with_samples: bool, tmp_path: Path) -> None:
    net = Net(seed=2)
    x = net.input(96, name="x")
    weight = net.constant(net.normal(*((64, 96) if form == "transB" else (96, 64)), scale=0.1), name="w")
    options = {"transB": {"transB": 1}, "alpha": {"alpha": 0.3}}.get(form, {})
    first = net.op("Gemm", x, weight, net.normal(64) if form == "bias" else None, name="one", **options)
    second = [net.op("Gemm", net.relu(x), weight, name="two")] if form == "shared" else []
    net.output(first, *second)
    feed = {"x": np.random.default_rng(0).standard_normal((150, 96)).astype(np.float32)}
    done = quantised(net, feed if with_samples else None)
    proto = done.model.complete_proto()
    assert fused(proto, tmp_path)["DynamicQuantizeMatMul"] == 1 + len(second)
    assert [node.name for node in proto.graph.node if node.op_type == "MatMulInteger"] == ["one", "two"][
        : 1 + len(second)
    ]
    outputs = (session(one).run(None, feed) for one in (proto, done.twin.complete_proto(), net.model()))
    for a, b, c in zip(*outputs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
        assert np.square(a - c).sum() < 1e-3 * np.square(c).sum()


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
def test_lstm(direction: str) -> None:
    count = 2 if direction == "bidirectional" else 1
    net = Net(seed=3)
    weights = [net.normal(count, 4 * 32, 48, scale=0.2), net.normal(count, 4 * 32, 32, scale=0.2)]
    net.output(
        *net.many(
            "LSTM", 2, net.declare("x", ["T", "N", 48]), *weights, net.normal(count, 8 * 32), None, None, None,
            direction=direction, hidden_size=32, name="lstm",
        )
    )  # fmt: skip
    feed = {"x": np.random.default_rng(0).standard_normal((12, 5, 48)).astype(np.float32)}
    done = quantised(net)
    proto = done.model.complete_proto()
    (node,) = proto.graph.node
    assert (node.op_type, node.domain, node.name) == ("DynamicQuantizeLSTM", MICROSOFT, "lstm")
    assert {layer.kind for layer in done.layers} == {"dynamic int8"}
    for a, b in zip(*(session(one).run(None, feed) for one in (proto, net.model())), strict=True):
        assert np.abs(a - b).max() < 0.1 and np.square(a - b).sum() < 2e-3 * np.square(b).sum()


def test_one_weight_of_an_lstm_alone_is_stored_only() -> None:
    net = Net(seed=4)
    recurrence = net.normal(1, 4 * 32, 32, scale=0.2)
    recurrence[0, 0, 0] = np.inf
    net.output(net.op("LSTM", net.declare("x", ["T", "N", 48]), net.normal(1, 128, 48), recurrence, hidden_size=32))
    done = quantised(net)
    assert [(layer.kind, layer.reason or layer.note) for layer in done.layers] == [
        ("int8", "the other weight of its layer stays float"),
        (None, "its weight holds NaN or infinity"),
    ]
    assert [node.op_type for node in done.model.proto.graph.node] == ["Cast", "Mul", "LSTM"]


def test_what_stays_and_why() -> None:
    net = Net(seed=5)
    x = net.input(64, name="x")
    h = net.matmul(x, 64, name="kept")
    h = net.matmul(h, 64, name="blocks")
    h = net.matmul(h, 64, name="halves")
    h = net.matmul(h, 64, name="float")
    h = net.matmul(h, 20, name="small")
    gru = net.op(
        "GRU", net.unsqueeze(x, 0), net.normal(1, 3 * 64, 64), net.normal(1, 3 * 64, 64), hidden_size=64, name="gru"
    )
    net.output(h, gru)
    chosen = {"blocks": "int8-blocks", "halves": "fp16", "float": "float"}
    found = {
        layer.node: (layer.kind, layer.reason or layer.note)
        for layer in quantised(net, kept={"kept": "excluded"}, chosen=chosen).layers
    }
    assert found == {
        "kept": (None, "excluded"),
        "blocks": ("int8 in blocks of 128", None),
        "halves": ("fp16", None),
        "float": (None, "chosen to stay"),
        "small": ("int8", "its weight has 1280 numbers: a product of integers gains from 4096 on"),
        "gru": ("int8", "int8 is for products of matrices, not for GRU"),
    }


def test_old_opsets_say_why() -> None:
    net = Net(opset=9, seed=6)
    net.output(net.matmul(net.input(64, name="x"), 64, name="layer"))
    (layer,) = quantised(net).layers
    assert (layer.kind, layer.note) == ("int8", "opset 9 has no DynamicQuantizeLinear, 11 has")
    new = Net(opset=11, seed=6)
    new.output(new.matmul(new.input(64, name="x"), 64, name="layer"))
    done = quantised(new)
    assert done.layers[0].kind == "dynamic int8"
    feed = {"x": np.random.default_rng(0).standard_normal((9, 64)).astype(np.float32)}
    a, b = (session(one).run(None, feed)[0] for one in (done.model.complete_proto(), new.model()))
    assert np.square(a - b).sum() < 1e-3 * np.square(b).sum()


@pytest.mark.parametrize("with_samples", [False, True])
def test_seven_bits_do_not_saturate(with_samples: bool) -> None:
    """The largest sums of two products, 2 * 255 * 63, fit into 16 bits; the least integers are never used."""
    net = Net(seed=7)
    weight = np.where(np.arange(64 * 64).reshape(64, 64) % 2, 1.0, 1.0).astype(np.float32)
    net.output(net.op("MatMul", net.input(64, name="x"), weight, name="layer"))
    feed = {"x": np.random.default_rng(0).uniform(0, 1, (50, 64)).astype(np.float32)}
    feed["x"][:25] = 1.0
    for bits, most in ((7, 63), (8, 127)):
        done = quantised(net, feed if with_samples else None, bits=bits)
        integers = next(t.array() for name, t in done.model.tensors.items() if name.endswith("_int8"))
        assert np.abs(integers.astype(int)).max() == most
        a, b = (session(one).run(None, feed)[0] for one in (done.model.complete_proto(), net.model()))
        np.testing.assert_allclose(a, b, rtol=0.02)


def test_the_signature_and_what_the_model_says_of_itself_stay(transformer: tuple[Net, dict[str, Array]]) -> None:
    proto = transformer[0].model()
    proto.producer_name, proto.doc_string = "somebody", "a text"
    proto.metadata_props.add(key="classes", value="ten")
    after = dynamic(trace_model(load(proto)), None).model.proto
    assert (after.producer_name, after.doc_string) == ("somebody", "a text")
    assert after.metadata_props == proto.metadata_props
    assert after.graph.input == proto.graph.input and after.graph.output == proto.graph.output
    assert after.opset_import == proto.opset_import  # operators of ONNX alone


def harmed_network() -> tuple[Net, dict[str, Array]]:
    """One product reads a channel of outliers, which its output hardly needs."""
    net = Net(seed=8)
    x = net.input(512, name="x")
    first = net.relu(net.dense(x, 512, name="first"))
    scale = np.ones(512, np.float32)
    scale[0] = 3000.0
    weight = net.normal(512, 512, scale=0.1)
    weight[0] *= 1e-4
    h = net.relu(net.op("MatMul", net.op("Softplus", net.op("Mul", first, scale)), weight, name="harmed"))
    net.output(net.matmul(h, 64, name="last"))
    return net, {"x": np.random.default_rng(0).standard_normal((200, 512)).astype(np.float32)}


def test_layers_that_it_harms_are_rounded_in_blocks() -> None:
    net, feed = harmed_network()
    done = quantised(net, feed)
    layers = {layer.node: layer for layer in done.layers}
    assert {name: layer.kind for name, layer in layers.items()} == {
        "first": "dynamic int8",
        "harmed": "int8 in blocks of 128",
        "last": "dynamic int8",
    }
    assert layers["harmed"].note is not None and "dynamic int8 of it alone would cost" in layers["harmed"].note
    assert layers["first"].note is None
    all_of_it = quantised(net, feed, most=float("inf"))
    asked = quantised(net, feed, chosen={"harmed": "fp16"})
    assert {layer.kind for layer in all_of_it.layers} == {"dynamic int8"}
    assert next(layer.kind for layer in asked.layers if layer.node == "harmed") == "fp16"
    wanted = session(net.model()).run(None, feed)[0]
    errors = [
        float(np.square(session(one.model.complete_proto()).run(None, feed)[0] - wanted).sum())
        for one in (done, all_of_it)
    ]
    assert errors[0] < 0.3 * errors[1]


def test_auto_takes_it_where_recurrent_layers_do_the_work(tmp_path: Path) -> None:
    """They know no other integers; a product behind them would be all that ranges help."""
    net = Net()
    h = net.op("Transpose", net.input(6, 16), perm=[1, 0, 2])
    h = net.op("LSTM", h, net.normal(1, 128, 16), net.normal(1, 128, 32), net.normal(1, 256), hidden_size=32)
    h = net.op("Transpose", net.op("Squeeze", h, np.array([1])), perm=[1, 0, 2])
    net.output(net.dense(h, 4))
    onnx.save(net.model(), tmp_path / "m.onnx")
    data = {net.inputs[0].name: net.rng.standard_normal((24, 6, 16)).astype(np.float32)}
    result = onnxprune.quantize(tmp_path / "m.onnx", tmp_path / "q.onnx", data=data)
    assert result.quantization.scheme == "dynamic"
    assert {one.operator for one in result.quantization.quantized_layers} >= {"LSTM"}
