"""Equalisation between layers: nothing changes but what rounding loses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.capture.samples import open_samples
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.options.quantizing import Quantizing
from onnxprune.quantizing import plans
from onnxprune.quantizing.crosslayer import evened, pairs
from onnxprune.quantizing.plans import network
from onnxprune.quantizing.prepare import prepared
from onnxprune.quantizing.request import resolve_quantization
from onnxprune.trace import trace_model
from tests.builders import Net
from tests.oracle import session

Array = np.ndarray[Any, Any]
WIDTH = 24
AROUND: dict[str, Any] = {"kernel": 3, "pads": [1] * 4}


def relu(net: Net, x: str) -> str:
    return net.relu(x)


def leaky(net: Net, x: str) -> str:
    return net.op("LeakyRelu", x, alpha=0.1)


def prelu(net: Net, x: str) -> str:
    return net.op("PRelu", x, net.rng.random((WIDTH, 1, 1)).astype(np.float32))


def pooled(net: Net, x: str) -> str:
    return net.op("MaxPool", net.relu(x), kernel_shape=[2, 2], strides=[2, 2])


def linear(net: Net, x: str) -> str:
    return x


def network_of(act: Any, *, group: int = 1, normalised: bool = False) -> onnx.ModelProto:
    """A layer, an activation, a layer (which may be depthwise), and a classifier."""
    net = Net(seed=0)
    h = net.conv(net.input(3, 8, 8, name="x"), WIDTH, name="first", **AROUND)
    if normalised:
        h = net.bn(h)
    h = net.conv(act(net, h), WIDTH, name="second", group=group, **AROUND)
    h = net.op("Flatten", net.op("GlobalAveragePool", net.relu(h)))
    net.output(net.gemm(h, 10, name="last"))
    return net.model()


def uneven(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The same function; channels between the first two layers differ by up to 2^6."""
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    sizes = 2.0 ** np.random.default_rng(3).integers(-3, 4, WIDTH)
    tensors = {one.name: one for one in result.graph.initializer}
    first, second = (next(n for n in result.graph.node if n.name == name) for name in ("first", "second"))
    for node, slots, factor in ((first, (1, 2), sizes), (second, (1,), 1 / sizes)):
        for slot in slots:
            tensor = tensors[node.input[slot]]
            array = onnx.numpy_helper.to_array(tensor)
            along_outputs = node is first or array.shape[1] == 1
            wide = factor.reshape(-1, *[1] * (array.ndim - 1)) if along_outputs else factor.reshape(1, -1, 1, 1)
            tensor.CopyFrom(onnx.numpy_helper.from_array((array * wide).astype(np.float32), tensor.name))
    return result


def images(count: int = 60) -> dict[str, Array]:
    return {"x": np.random.default_rng(1).standard_normal((count, 3, 8, 8)).astype(np.float32)}


def outputs(model: Model, feed: dict[str, Array]) -> list[Array]:
    return list(session(model.complete_proto()).run(None, feed))


def weights_of(model: Model) -> set[str]:
    return {node.inputs[1] for node in build(model).nodes if node.op_type in ("Conv", "Gemm")}


ACTIVATIONS = [relu, leaky, prelu, pooled, linear]


@pytest.mark.parametrize("group", [1, WIDTH], ids=["dense", "depthwise"])
@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: act.__name__)
def test_the_same_bits(act: Any, group: int) -> None:
    model = prepared(load(uneven(network_of(act, group=group))))
    trace = trace_model(model)
    after, divided = evened(model, trace.facts.dtypes, images(), weights_of(model))
    assert divided
    for a, b in zip(outputs(model, images()), outputs(after, images()), strict=True):
        assert np.array_equal(a, b)
    for scale in divided.values():
        assert np.array_equal(np.log2(scale), np.rint(np.log2(scale))) and len(np.unique(scale)) > 3


@pytest.mark.parametrize("act", ACTIVATIONS, ids=lambda act: act.__name__)
def test_values_are_divided_by_what_is_said(act: Any) -> None:
    """Repair compares them with the original's."""
    model = prepared(load(uneven(network_of(act))))
    trace = trace_model(model)
    after, divided = evened(model, trace.facts.dtypes, images(), weights_of(model))
    for key, scale in divided.items():
        shown = []
        for one in (model, after):
            proto = one.complete_proto()
            proto.graph.output.append(onnx.helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, None))
            shown.append(session(proto).run([key], images())[0])
        assert np.array_equal(shown[0] / scale.reshape(-1, 1, 1).astype(np.float32), shown[1])


REFUSED = {
    "clipped": lambda net, x: net.conv(net.op("Clip", x, np.float32(0), np.float32(6)), 8),
    "read by others": lambda net, x: net.add(net.conv(net.relu(x), WIDTH), x),
    "a shape": lambda net, x: (net.output(net.op("Shape", x), dtype=np.int64), net.conv(x, 8))[1],
    "no layer": lambda net, x: net.op("Sigmoid", x),
    "a shared weight": lambda net, x: _shared(net, x),
}


def _shared(net: Net, x: str) -> str:
    weight = net.constant(net.normal(WIDTH, WIDTH, 1, 1))
    return net.op("Conv", net.op("Conv", x, weight), weight)


@pytest.mark.parametrize("why", REFUSED)
def test_what_does_not_commute_or_others_see_stays(why: str) -> None:
    net = Net(seed=1)
    x = net.conv(net.input(3, 8, 8, name="x"), WIDTH, name="first", **AROUND)
    net.output(REFUSED[why](net, x))
    assert pairs(build(load(net.model()))) == []


def test_channels_of_one_size_stay() -> None:
    model = prepared(load(network_of(relu)))
    assert evened(model, trace_model(model).facts.dtypes, images(), weights_of(model))[0] is model


@pytest.mark.parametrize("repair", ["none", "reconstruct"])
@pytest.mark.parametrize("normalised", [False, True])
def test_uneven_networks_lose_as_little_as_even_ones(
    repair: str, normalised: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    proto = uneven(network_of(relu, normalised=normalised)) if not normalised else network_of(relu, normalised=True)
    if normalised:
        _uneven_normalisation(proto)
    path = tmp_path / "m.onnx"
    onnx.save(proto, path)
    options: dict[str, Any] = {"data": images(), "scheme": "static", "repair": repair}
    even = onnxprune.quantize(path, tmp_path / "even.onnx", **options)
    assert onnxprune.verify(path, tmp_path / "even.onnx").failure() is None
    monkeypatch.setattr(plans, "evened", lambda net, *rest: net)
    monkeypatch.setattr("onnxprune.quantizing.stage.evened", lambda net, *rest: net)
    plain = onnxprune.quantize(path, None, **options)
    assert even.fidelity is not None and plain.fidelity is not None
    assert even.fidelity.worst_error is not None and plain.fidelity.worst_error is not None
    assert even.fidelity.worst_error < 0.6 * plain.fidelity.worst_error


def _uneven_normalisation(proto: onnx.ModelProto) -> None:
    """Scale and shift of the normalisation, and the layer that reads it."""
    sizes = 2.0 ** np.random.default_rng(3).integers(-3, 4, WIDTH)
    tensors = {one.name: one for one in proto.graph.initializer}
    norm = next(node for node in proto.graph.node if node.op_type == "BatchNormalization")
    second = next(node for node in proto.graph.node if node.name == "second")
    for name, factor in ((norm.input[1], sizes), (norm.input[2], sizes), (second.input[1], 1 / sizes[:, None, None])):
        array = onnx.numpy_helper.to_array(tensors[name])
        tensors[name].CopyFrom(onnx.numpy_helper.from_array((array * factor).astype(np.float32), name))


def test_it_is_not_taken_where_it_measures_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(uneven(network_of(relu)))
    trace = trace_model(model)
    request = resolve_quantization(Quantizing(data="random", scheme="static"), with_data=True)
    net, samples = network(trace, request), open_samples(images(), trace)
    assert plans.evened(net, request, samples, 1).divided
    monkeypatch.setattr(plans, "WORTH", 0.0)
    assert plans.evened(net, request, samples, 1) is net
