"""Equalisation behind normalisations: nothing changes but what rounding loses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from onnxprune.capture.samples import open_samples
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.quantizing.dynamic import dynamic
from onnxprune.quantizing.equalise import Channels, equalised, lost, normalised, scales
from onnxprune.trace import trace_model
from tests.builders import Net, ints
from tests.oracle import session

Array = np.ndarray[Any, Any]
WIDTH = 64


def factors(net: Net) -> Array:
    """Of channels that differ by orders of magnitude."""
    found = np.exp(net.rng.standard_normal(WIDTH) * 0.5)
    found[[3, 17]] = 60.0
    return found.astype(np.float32)


def layer_norm(net: Net, x: str) -> str:
    return net.op("LayerNormalization", x, factors(net), net.normal(WIDTH), axis=-1, name="norm")


def affine(net: Net, x: str) -> str:
    return net.add(net.op("Mul", net.op("Tanh", x), factors(net)), net.normal(WIDTH))


def factor(net: Net, x: str) -> str:
    return net.op("Mul", factors(net), net.op("Tanh", x))


def network(norm: Any = layer_norm, between: str = "") -> Net:
    net = Net(seed=0)
    y = norm(net, net.input(7, WIDTH, name="x"))
    if between == "Transpose":
        y = net.transpose(y, 1, 0, 2)
    elif between == "Reshape":
        y = net.reshape(y, -1, WIDTH)
    elif between == "Identity":
        y = net.op("Identity", y)
    first, second = net.matmul(y, WIDTH, name="first"), net.matmul(y, 2 * WIDTH, name="second")
    flat = net.reshape(y, -1, WIDTH)
    third = net.op("Gemm", flat, net.normal(WIDTH, WIDTH), transB=1, name="third")
    net.output(first, second, third)
    return net


def samples() -> dict[str, Array]:
    return {"x": np.random.default_rng(1).standard_normal((120, 7, WIDTH)).astype(np.float32)}


def outputs(model: Model, feed: dict[str, Array]) -> list[Array]:
    return list(session(model.complete_proto()).run(None, feed))


@pytest.mark.parametrize("norm", [layer_norm, affine, factor])
@pytest.mark.parametrize("between", ["", "Transpose", "Reshape", "Identity"])
def test_the_same_bits(norm: Any, between: str) -> None:
    model = load(network(norm, between).model())
    trace = trace_model(model)
    after, changed = equalised(model, trace.facts.dtypes, [samples()])
    assert len(changed) == 1
    differ = {name for name, t in model.tensors.items() if not np.array_equal(t.array(), after.tensors[name].array())}
    assert len(differ) == 3 + (1 if norm is factor else 2)
    for a, b in zip(outputs(model, samples()), outputs(after, samples()), strict=True):
        assert np.array_equal(a, b)
    for name in differ:
        ratio = after.tensors[name].array() / model.tensors[name].array()
        assert (np.log2(ratio) == np.rint(np.log2(ratio))).all()


def test_dynamic_quantisation_gains() -> None:
    """Little but the rounding of the weights is left where two channels were all that was seen."""
    net = network()
    trace = trace_model(load(net.model()))
    found = open_samples(samples(), trace)
    feed = {"x": samples()["x"][:20]}
    wanted = outputs(load(net.model()), feed)
    errors = []
    for rounding in ("nearest", "moments"):  # only the second looks at samples
        done = dynamic(trace, found, rounding=rounding)
        given = outputs(done.model, feed)
        errors.append(
            sum(float(np.square(a - b).sum() / np.square(b).sum()) for a, b in zip(given, wanted, strict=True))
        )
    assert errors[1] < 0.1 * errors[0]


REFUSED = {
    "read by others": lambda net, y: net.output(net.matmul(y, 8), net.relu(y)),
    "an output": lambda net, y: net.output(net.matmul(y, 8), y),
    "a sum": lambda net, y: net.output(net.add(net.matmul(y, WIDTH), y)),
    "on the right": lambda net, y: net.output(net.op("MatMul", net.normal(3, 7), y)),
    "moved": lambda net, y: net.output(net.matmul(net.transpose(y, 0, 2, 1), 8)),
    "another width": lambda net, y: net.output(net.matmul(net.reshape(y, 0, -1, WIDTH // 2), 8)),
    "no product": lambda net, y: net.output(net.op("Shape", y), dtype=np.int64),
    "batched": lambda net, y: net.output(net.op("MatMul", y, net.normal(1, WIDTH, 8))),
    "transA": lambda net, y: net.output(net.op("Gemm", net.reshape(y, WIDTH, -1), net.normal(WIDTH, 8), transA=1)),
    "sliced": lambda net, y: net.output(net.matmul(net.op("Gather", y, ints(0, 1), axis=2), 8)),
}


@pytest.mark.parametrize("why", REFUSED)
def test_values_that_others_see_stay(why: str) -> None:
    net = Net(seed=1, batch=2)
    REFUSED[why](net, layer_norm(net, net.input(7, WIDTH, name="x")))
    model = load(net.model())
    assert normalised(build(model)) == []
    assert equalised(model, {}, [samples()])[0] is model


def test_shared_factors_and_weights_stay() -> None:
    net = Net(seed=2)
    x = net.input(7, WIDTH, name="x")
    shared = net.constant(factors(net), name="shared")
    weight = net.constant(net.normal(WIDTH, 8), name="weight")
    one, two = (net.op("LayerNormalization", v, shared, axis=-1) for v in (x, net.relu(x)))
    three = net.op("LayerNormalization", x, factors(net), axis=-1)
    net.output(net.matmul(one, 8), net.matmul(two, 8), net.op("MatMul", three, weight), net.op("MatMul", x, weight))
    assert normalised(build(load(net.model()))) == []


def test_only_the_weights_that_are_asked_for() -> None:
    model = load(network().model())
    trace = trace_model(model)
    graph = build(model)
    weights = {reader.weight for one in normalised(graph) for reader in one.readers}
    assert len(weights) == 3
    for keys, count in ((weights, 1), (set(list(weights)[:2]), 0)):
        assert len(equalised(model, trace.facts.dtypes, [samples()], keys=keys)[1]) == count


def test_scales_take_what_loses_least() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((WIDTH, 30))
    seen = Channels.none(WIDTH)
    x = rng.standard_normal((500, WIDTH))
    x[:, 5] *= 100
    seen.add(x[:250])
    seen.add(x[250:])
    np.testing.assert_allclose(seen.square, np.square(x).mean(axis=0))
    assert (seen.high == x.max(axis=0)).all() and (seen.low == x.min(axis=0)).all()
    found = scales(seen, [weight[:, :10], weight[:, 10:]])
    assert found is not None and found[5] > 8 * np.median(found)
    assert lost(seen, weight, found) < 0.5 * lost(seen, weight, np.ones(WIDTH))
    alike = Channels.none(WIDTH)
    alike.add(rng.uniform(-1, 1, (500, WIDTH)))
    assert scales(alike, [weight]) is None


@pytest.mark.parametrize("value", [0.0, np.inf, np.nan])
def test_values_that_say_nothing(value: float) -> None:
    seen = Channels(*(np.full(4, value) for _ in range(3)))
    assert scales(seen, [np.ones((4, 2))]) is None


def test_channels_that_are_never_used_do_not_overflow() -> None:
    seen = Channels.none(8)
    x = np.random.default_rng(4).standard_normal((50, 8))
    x[:, 0], x[:, 1], x[:, 2] = 0.0, x[:, 1] * 1e30, x[:, 2] * 1e-30
    seen.add(x)
    weight = np.ones((8, 3))
    weight[3] = 0.0
    found = scales(seen, [weight])
    assert found is not None and np.isfinite(found).all() and found.max() <= 2.0**12 and found.min() >= 2.0**-12
