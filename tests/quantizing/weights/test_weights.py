"""Which weights become small, in which form, and why the others stay."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxprune.capture.samples import Samples, open_samples
from onnxprune.errors import NotFinite, UsageError
from onnxprune.model.load import load
from onnxprune.model.save import write
from onnxprune.quantizing.weights import WeightLayer, WeightRequest, WeightsOnly, weights_only
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Trace
from tests.builders import MICROSOFT, Net, ints
from tests.oracle import session

Array = np.ndarray[Any, Any]
ALL = ("int4", "int8", "fp16")


def done(net: Net, request: WeightRequest, samples: Mapping[str, Array] | None = None) -> tuple[Trace, WeightsOnly]:
    trace = trace_model(load(net.model()))
    found: Samples | None = None if samples is None else open_samples(samples, trace)
    return trace, weights_only(trace, found, request)


def by_node(result: WeightsOnly) -> dict[str, WeightLayer]:
    return {layer.node: layer for layer in result.layers}


def outputs(proto: onnx.ModelProto, feed: Mapping[str, Array]) -> list[Array]:
    return list(session(proto).run(None, dict(feed)))


def every_layer(opset: int = 17, weights: str = "initializer") -> tuple[Net, dict[str, Array]]:
    """All operators that have weights; `ids` chooses from a table."""
    net = Net(opset=opset, seed=0, weights=weights)
    ids = net.declare("ids", ["N", 5], np.int64)
    image = net.input(8, 6, 6, name="image")
    h = net.conv(image, 16, 3, name="conv")
    h = net.conv(h, 16, 3, group=4, name="grouped")
    h = net.transposed(net.relu(h), 24, 3, name="transposed")
    flat = net.op("Flatten", h, axis=1)
    g = net.gemm(flat, 40, name="gemm")
    words = net.op("Gather", net.normal(50, 32, scale=1.0), ids, axis=0, name="table")
    words = net.matmul(words, 48, name="product")
    turned = net.transpose(words, 1, 0, 2)
    recurrent = net.op(
        "LSTM",
        turned,
        net.normal(2, 4 * 20, 48, scale=0.2),
        net.normal(2, 4 * 20, 20, scale=0.2),
        direction="bidirectional",
        hidden_size=20,
        name="lstm",
    )
    net.output(g, recurrent)
    rng = np.random.default_rng(1)
    feed = {"ids": rng.integers(0, 50, (24, 5)), "image": rng.standard_normal((24, 8, 6, 6)).astype(np.float32)}
    return net, feed


LAYERS = ("conv", "grouped", "transposed", "gemm", "table", "product", "lstm")
FORMS = {
    "int4": dict.fromkeys(LAYERS, "int8") | dict.fromkeys(("gemm", "product"), "int4 in blocks of 32"),
    "int8": dict.fromkeys(LAYERS, "int8"),
    "fp16": dict.fromkeys(LAYERS, "fp16"),
}


@pytest.mark.parametrize("kind", ALL)
@pytest.mark.parametrize("with_samples", [False, True])
@pytest.mark.parametrize(
    ("opset", "weights"), [(17, "initializer"), (11, "constant"), (13, "identity"), (21, "initializer")]
)
def test_every_layer(kind: str, with_samples: bool, opset: int, weights: str) -> None:
    """What runs is what the integers stand for, and near the original; files become as small as is said."""
    net, feed = every_layer(opset, weights)
    trace, result = done(net, WeightRequest(kind=kind, accuracy_level=1), feed if with_samples else None)
    assert {name: layer.kind for name, layer in by_node(result).items()} == FORMS[kind]
    proto, before = result.model.complete_proto(), net.model()
    onnx.checker.check_model(proto)
    assert [i.name for i in proto.graph.input] == [i.name for i in before.graph.input]
    found, twin, wanted = (outputs(one, feed) for one in (proto, result.twin.complete_proto(), before))
    for a, b, c in zip(found, twin, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
        assert np.square(a - c).mean() < {"int4": 0.05, "int8": 1e-3, "fp16": 1e-5}[kind] * np.square(c).mean()
    stored = sum(layer.stored for layer in result.layers if layer.kind)
    sizes = sum(4 * layer.size for layer in result.layers if layer.kind)
    assert stored < sizes * {"int4": 0.32, "int8": 0.29, "fp16": 0.501}[kind]
    assert abs((trace.graph.model.size_bytes - result.model.size_bytes) - (sizes - stored)) < 3000
    assert all((layer.error is not None) <= with_samples for layer in result.layers)


@pytest.mark.parametrize("kind", ["int4", "int8"])
def test_samples_make_it_better(kind: str) -> None:
    """On inputs that are much alike, in a network of a few layers; on samples that were never seen."""
    net = Net(seed=3)
    h = net.input(96, name="x")
    for number in range(4):
        h = net.relu(net.dense(h, 96, name=f"layer{number}"))
    net.output(net.matmul(h, 32, name="last"))
    rng = np.random.default_rng(4)
    mixed = rng.standard_normal((20, 96)) * np.exp(rng.standard_normal(96))
    x = (rng.standard_normal((900, 20)) @ mixed).astype(np.float32)
    wanted = outputs(net.model(), {"x": x[800:]})[0]
    errors = []
    for samples, rounding in ((None, "moments"), ({"x": x[:800]}, "nearest"), ({"x": x[:800]}, "moments")):
        _, result = done(net, WeightRequest(kind=kind, accuracy_level=1, rounding=rounding), samples)
        errors.append(float(np.square(outputs(result.model.complete_proto(), {"x": x[800:]})[0] - wanted).sum()))
    assert errors[1] == errors[0]  # samples are not looked at
    assert errors[2] < 0.3 * errors[0]
    last = by_node(result)["last"]
    assert last.error is not None and last.error == pytest.approx(
        errors[2] / np.square(wanted - wanted.mean(0)).sum(), rel=0.5
    )


def test_biases_follow() -> None:
    """The mean of what rounding changes is taken back, where a layer has a bias of its own."""
    net = Net(seed=5)
    x = net.input(64, name="x")
    shared = net.constant(np.zeros(32, np.float32), name="shared")
    net.output(
        net.op("Gemm", x, net.normal(64, 32), net.normal(32), name="own"),
        net.op("Gemm", x, net.normal(64, 32), shared, name="one"),
        net.op("Gemm", x, net.normal(64, 32), shared, name="two"),
    )
    feed = {"x": (np.random.default_rng(0).standard_normal((300, 64)) + 3).astype(np.float32)}
    _, result = done(net, WeightRequest(least=100, accuracy_level=1), feed)
    assert (result.model.tensors["shared"].array() == 0).all()
    found, wanted = (outputs(one, feed) for one in (result.model.complete_proto(), net.model()))
    assert np.abs((found[0] - wanted[0]).mean(axis=0)).max() < 0.02 * wanted[0].std()


def test_shared_weights_become_one() -> None:
    """Products that take a weight in the same way share what is packed; one that is also gathered is int8."""
    net = Net(seed=6)
    x, ids = net.input(64, name="x"), net.declare("ids", ["N"], np.int64)
    both = net.constant(net.normal(64, 64, scale=0.1), name="both")
    tied = net.constant(net.normal(64, 64, scale=0.1), name="tied")
    ways = net.constant(net.normal(64, 64, scale=0.1), name="ways")
    h = net.op("MatMul", net.op("MatMul", x, both, name="first"), both, name="second")
    h = net.add(net.op("MatMul", h, tied, name="head"), net.op("Gather", tied, ids, name="words"))
    h = net.op("Gemm", net.op("Gemm", h, ways, name="there"), ways, transB=1, name="back")
    net.output(h)
    rng = np.random.default_rng(2)
    feed = {"x": rng.standard_normal((40, 64)).astype(np.float32), "ids": rng.integers(0, 64, 40)}
    for samples in (None, feed):
        _, result = done(net, WeightRequest(accuracy_level=1), samples)
        assert {layer.weight: layer.kind for layer in result.layers} == {
            "both": "int4 in blocks of 32",
            "tied": "int8",
            "ways": "int8",
        }
        notes = {layer.weight: layer.note for layer in result.layers}
        assert notes["tied"] == "int4 is for products of matrices, not for Gather, which reads its weight, too"
        assert notes["ways"] == "its readers take it in two ways"
        assert [name for name in result.model.tensors if name.endswith("_4bits")] == ["both_4bits"]
        found, twin = (outputs(one.complete_proto(), feed)[0] for one in (result.model, result.twin))
        np.testing.assert_allclose(found, twin, rtol=1e-4, atol=1e-4)


def test_weights_that_nodes_make_of_constants() -> None:
    """Transpose and Cast of halves: what they make is what becomes small, and they leave."""
    net = Net(seed=7)
    stored = net.constant(net.normal(48, 64).astype(np.float16), name="stored")
    turned = net.transpose(net.op("Cast", stored, to=TensorProto.FLOAT), 1, 0)
    net.output(net.op("MatMul", net.input(64, name="x"), turned, name="layer"))
    _, result = done(net, WeightRequest(accuracy_level=1))
    assert [node.op_type for node in result.model.proto.graph.node] == ["MatMulNBits"]
    assert "stored" not in result.model.tensors
    feed = {"x": np.random.default_rng(1).standard_normal((6, 64)).astype(np.float32)}
    found, wanted = (outputs(one, feed)[0] for one in (result.model.complete_proto(), net.model()))
    assert np.square(found - wanted).sum() < 0.02 * np.square(wanted).sum()


def reasons_net() -> Net:
    net = Net(seed=8)
    x = net.input(64, name="x")
    default = net.constant(net.normal(64, 64), name="default")
    net.inputs.append(helper.make_tensor_value_info("default", TensorProto.FLOAT, [64, 64]))
    h = net.op("MatMul", x, default, name="overridable")
    h = net.matmul(h, 64, name="excluded")
    h = net.op("Gemm", h, net.normal(64, 64), net.normal(64), beta=0.5, name="beta")
    h = net.op("Gemm", net.transpose(h, 1, 0), net.normal(64, 64), transA=1, name="transA")
    h = net.op("MatMul", net.normal(64, 64), net.reshape(h, -1, 64, 1), name="left")
    h = net.op("MatMul", net.reshape(h, -1, 1, 64), net.normal(1, 64, 64), name="batched")
    huge = net.normal(64, 64)
    huge[3, 4] = 1e6
    h = net.op("MatMul", h, huge, name="huge")
    wrong = net.normal(64, 64)
    wrong[0, 0] = np.nan
    net.output(net.op("MatMul", h, wrong, name="nan"))
    return net


def test_reasons() -> None:
    request = WeightRequest(others="float", kept={"excluded": "excluded"})
    _, result = done(reasons_net(), request)
    found = {name: layer.reason for name, layer in by_node(result).items()}
    assert found == {
        "overridable": "its weight is an initializer that callers may override (it is also a graph input)",
        "excluded": "excluded",
        "beta": "its beta is 0.5",
        "transA": "its input is transposed (transA)",
        "left": "its weight is on the left",
        "batched": "its weight has 3 axes",
        "huge": None,
        "nan": "its weight holds NaN or infinity",
    }
    halves = by_node(done(reasons_net(), WeightRequest(kind="fp16"))[1])
    assert halves["huge"].reason == "its weight holds 1e+06, more than fp16 has (65504)"
    assert {name for name, layer in halves.items() if layer.kind == "fp16"} == {
        "excluded",
        "beta",
        "transA",
        "left",
        "batched",
    }


def test_layers_without_a_weight_that_can_be_set() -> None:
    net = Net(seed=16)
    x = net.input(8, name="x")
    made = net.op("Tanh", net.normal(8, 8))
    h = net.op("MatMul", x, made, name="made")
    h = net.op("MatMul", h, net.normal(8), name="vector")
    net.output(net.op("MatMul", net.reshape(h, -1, 1), net.reshape(h, 1, -1), name="both"))
    _, result = done(net, WeightRequest())
    assert {layer.node: layer.reason for layer in result.layers} == {
        "made": "its weight is made of constants in a way that cannot be undone",
        "vector": "it has no weight of two axes or more",
        "both": "it has no weight: both of its inputs are computed",
    }


def test_the_rest_of_int4_can_be_int8_halves_or_stay() -> None:
    net, _ = every_layer()
    kinds = {
        others: by_node(done(net, WeightRequest(others=others))[1])["conv"] for others in ("int8", "fp16", "float")
    }
    note = "int4 is for products of matrices, not for Conv"
    assert {others: layer.kind for others, layer in kinds.items()} == {"int8": "int8", "fp16": "fp16", "float": None}
    assert kinds["int8"].note == kinds["float"].reason == note


def test_small_weights_stay() -> None:
    net, _ = every_layer()
    layers = by_node(done(net, WeightRequest(least=2000))[1])
    assert layers["grouped"].reason == "its weight has 576 numbers, fewer than 2000"
    assert {layer.kind for name, layer in layers.items() if name != "conv"} > {None, "int8"}


def test_models_of_halves_stay_and_say_why() -> None:
    net = Net(seed=9, dtype=np.float16)
    net.output(net.matmul(net.input(64, name="x"), 64, name="layer"))
    trace, result = done(net, WeightRequest())
    assert by_node(result)["layer"].reason == "its weight is FLOAT16, not FLOAT"
    assert result.model is result.twin is trace.graph.model


def test_weights_in_bodies_stay_and_weights_read_there_do_not() -> None:
    net = Net(seed=10)
    x = net.input(64, name="x")
    outer = net.constant(net.normal(64, 64), name="outer")
    bodies = {}
    for branch in ("then", "else"):
        inner = Net(seed=11)
        inner._count = 100 if branch == "then" else 200
        bodies[f"{branch}_branch"] = inner.body(
            results=[inner.op("MatMul", inner.op("MatMul", x, outer), inner.normal(64, 64), name=branch)]
        )
    net.nodes.append(helper.make_node("If", [net.constant(np.array(True))], ["y"], name="if", **bodies))
    net.outputs.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, None))
    _, result = done(net, WeightRequest(kind="int8"))
    layers = {layer.node: layer for layer in result.layers}
    assert layers["then"].reason == layers["else"].reason == "its weight is in a body of control flow"
    assert next(layer for layer in result.layers if layer.weight == "outer").kind == "int8"
    feed = {"x": np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)}
    found, wanted = (outputs(one, feed)[0] for one in (result.model.complete_proto(), net.model()))
    assert 0 < np.abs(found - wanted).max() < 0.1


def test_initializers_that_are_inputs_by_the_old_format() -> None:
    net = Net(opset=7, seed=12)
    net.output(net.gemm(net.input(64, name="x"), 64, name="layer"))
    for kind in ALL:
        _, result = done(net, WeightRequest(kind=kind, accuracy_level=1))
        proto = result.model.complete_proto()
        assert proto.ir_version == 3
        assert {i.name for i in proto.graph.input} == {"x", *result.model.tensors}
        feed = {"x": np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)}
        found, twin = (outputs(one, feed)[0] for one in (proto, result.twin.complete_proto()))
        np.testing.assert_allclose(found, twin, rtol=1e-4, atol=1e-4)


def test_what_the_model_says_of_itself_stays() -> None:
    net, _ = every_layer()
    proto = net.model()
    proto.producer_name, proto.producer_version, proto.doc_string = "somebody", "7", "a text"
    proto.metadata_props.add(key="classes", value="ten")
    result = weights_only(trace_model(load(proto)), None, WeightRequest())
    after = result.model.proto
    assert (after.producer_name, after.producer_version, after.doc_string) == ("somebody", "7", "a text")
    assert [(e.key, e.value) for e in after.metadata_props] == [("classes", "ten")]
    assert [(e.domain, e.version) for e in after.opset_import] == [("", 17), (MICROSOFT, 1)]
    assert after.graph.name == "net"


def test_twice_gives_the_same_bytes_and_small_weights_are_left_alone() -> None:
    net, feed = every_layer()
    first, second = (done(net, WeightRequest(), feed)[1].model for _ in range(2))
    assert first.sha256 == second.sha256
    again = weights_only(trace_model(load(first.complete_proto())), None, WeightRequest(others="float"))
    assert {layer.kind for layer in again.layers} == {None}


def test_data_beside_the_file(tmp_path: Path) -> None:
    """Weights that are external stay on disk until a layer needs them, and so may the result's."""
    net, feed = every_layer()
    onnx.save(net.model(), str(tmp_path / "m.onnx"), save_as_external_data=True, size_threshold=100)
    result = weights_only(trace_model(load(tmp_path / "m.onnx")), None, WeightRequest(accuracy_level=1))
    write(result.model, tmp_path / "small.onnx", external_data="always")
    assert result.model.sha256 == done(net, WeightRequest(accuracy_level=1))[1].model.sha256
    model = load(tmp_path / "small.onnx")
    assert model.external_files
    for a, b in zip(outputs(model.complete_proto(), feed), outputs(result.twin.complete_proto(), feed), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_values_that_are_not_finite_are_refused() -> None:
    net = Net(seed=13)
    net.output(net.matmul(net.input(64, name="x"), 64, name="layer"))
    x = np.random.default_rng(0).standard_normal((20, 64)).astype(np.float32)
    x *= np.float32(1e25)
    with pytest.raises(NotFinite, match="'layer' hold NaN or infinity"):
        done(net, WeightRequest(), {"x": x})


@pytest.mark.parametrize(
    "wrong", [{"kind": "int3"}, {"block": 48}, {"others": "int4"}, {"rounding": "up"}, {"accuracy_level": 5}]
)
def test_wrong_requests_are_refused(wrong: dict[str, Any]) -> None:
    net = Net()
    net.output(net.matmul(net.input(8), 8))
    with pytest.raises(UsageError, match=f"{next(iter(wrong.values()))!r}"):
        done(net, WeightRequest(**wrong))


def test_tables_are_made_real_row_by_row() -> None:
    """The file's table is never dequantised as a whole: what is gathered is."""
    net = Net(seed=14)
    table = net.constant(net.normal(500, 16, scale=1.0), name="table")
    ids = net.declare("ids", ["N", 3], np.int64)
    net.output(net.op("Gather", table, ids, name="words"), net.op("Gather", table, ints(4, 2), name="two"))
    for kind in ALL:
        _, result = done(net, WeightRequest(kind=kind))
        kinds = [node.op_type for node in result.model.proto.graph.node]
        assert kinds == ["Gather", "Cast"] * 2 if kind == "fp16" else ["Gather", "Cast", "Gather", "Mul"] * 2
        feed = {"ids": np.array([[0, 499, 7]])}
        for a, b in zip(*(outputs(one.complete_proto(), feed) for one in (result.model, result.twin)), strict=True):
            assert (a == b).all()


def test_names_that_are_taken() -> None:
    net = Net(seed=15)
    weight = net.constant(net.normal(64, 64), name="w")
    other = net.constant(np.zeros(64, np.float32), name="w_4bits")
    net.output(net.add(net.op("MatMul", net.input(64, name="x"), weight, name="layer"), other))
    _, result = done(net, WeightRequest())
    assert numpy_helper.to_array(result.model.tensors["w_4bits"].to_proto()).dtype == np.float32
    onnx.checker.check_model(result.model.complete_proto())
