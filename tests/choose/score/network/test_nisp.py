"""NISP against s_in = |W|' s_out, written out layer by layer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.choose.score.network import network_scores
from onnxprune.choose.score.registry import FloatArray
from onnxprune.model.load import load
from onnxprune.trace import Trace, trace_model
from tests.builders import Array, Net


def traced(net: Net) -> Trace:
    return trace_model(load(net.model()))


def scores(trace: Trace) -> dict[str, FloatArray]:
    found = network_scores(trace, trace.prunable, [], "nisp")
    return {group.name: s for group, s in zip(trace.prunable, found, strict=True)}


def size(trace: Trace, name: str) -> Array:
    """|W| of a layer in float64, kernel positions summed."""
    node = next(n for n in trace.graph.nodes if n.label == name)
    weight = np.abs(trace.graph.constants[node.inputs[1]].array().astype(np.float64))
    return weight.reshape(*weight.shape[:2], -1).sum(axis=2)


def expect(found: FloatArray, importance: Array) -> None:
    np.testing.assert_allclose(found, importance / importance.max(), rtol=1e-9)


def test_dense_layers() -> None:
    net = Net()
    h = net.relu(net.gemm(net.input(5), 8, name="a"))
    net.output(net.dense(net.relu(net.dense(h, 7, name="b")), 4, name="z"))
    trace = traced(net)
    found = scores(trace)
    at_b = size(trace, "z").sum(axis=1)  # matrices of MatMul are (inputs, outputs)
    expect(found["b"], at_b)
    expect(found["a"], size(trace, "b") @ at_b)


def test_convolutions_and_a_residual_stream() -> None:
    """A stream collects what its later readers say; its writers hand on what lies behind them."""
    net = Net()
    h = net.relu(net.stem(6))
    block = net.conv(net.relu(net.conv(h, 5, 3, name="b", pads=[1] * 4)), 6, name="c")
    net.head(net.relu(net.add(h, block)))
    trace = traced(net)
    found = scores(trace)
    after = size(trace, "z").sum(axis=0)
    inner = size(trace, "c").T @ after
    expect(found["b"], inner)
    expect(found["a"], after + size(trace, "b").T @ inner)


@pytest.mark.parametrize("flat", ["Flatten", "GlobalAveragePool"])
def test_flattened_maps_are_summed(flat: str) -> None:
    net = Net()
    h = net.relu(net.conv(net.relu(net.stem(6, size=4)), 5, name="b"))
    h = net.op(flat, h)
    net.output(net.gemm(h if flat == "Flatten" else net.op("Flatten", h), 3, name="z"))
    trace = traced(net)
    at_b = size(trace, "z").sum(axis=0).reshape(5, -1).sum(axis=1)
    expect(scores(trace)["b"], at_b)
    expect(scores(trace)["a"], size(trace, "b").T @ at_b)


def test_grouped_and_transposed_convolutions() -> None:
    net = Net()
    h = net.relu(net.conv(net.relu(net.stem(8)), 6, name="b", group=2))
    net.output(net.transposed(h, 3, name="z"))
    trace = traced(net)
    found = scores(trace)
    at_b = size(trace, "z").sum(axis=1)
    expect(found["b"], at_b)
    weight = size(trace, "b")  # (6, 4): outputs 0..2 see inputs 0..3
    expect(found["a"], np.concatenate([weight[:3].T @ at_b[:3], weight[3:].T @ at_b[3:]]))


def test_normalisation_and_depthwise_layers_scale_what_is_before_them() -> None:
    net = Net()
    scale, variance = net.positive(6), net.positive(6)
    h = net.conv(net.relu(net.stem(5)), 6, name="b")
    h = net.op("BatchNormalization", h, scale, net.normal(6), net.normal(6), variance)
    h = net.relu(net.conv(net.relu(h), 6, 3, name="d", group=6))
    net.head(h)
    trace = traced(net)
    found = scores(trace)
    after = size(trace, "z").sum(axis=0)
    expect(found["b"], after)
    factor = scale / np.sqrt(variance.astype(np.float64) + 1e-5) * size(trace, "d").sum(axis=1)
    expect(found["a"], size(trace, "b").T @ (factor * after))


def test_one_output_has_no_labels_and_counts_all_the_same() -> None:
    net = Net()
    net.output(net.op("Sigmoid", net.gemm(net.relu(net.gemm(net.input(5), 8, name="a")), 1, name="z")))
    trace = traced(net)
    expect(scores(trace)["a"], size(trace, "z")[0])


def test_a_gate_of_one_channel_takes_what_it_multiplies() -> None:
    """The gate's importance is that of the whole product; the gated maps keep theirs."""
    net = Net()
    x = net.input(3, 6, 6)
    h = net.relu(net.conv(x, 6, name="a"))
    gate = net.op("Sigmoid", net.conv(net.relu(net.conv(x, 5, name="g")), 1, name="one"))
    net.head(net.op("Mul", h, gate))
    trace = traced(net)
    found = scores(trace)
    expect(found["a"], size(trace, "z").sum(axis=0))
    expect(found["g"], size(trace, "one")[0])


def test_products_of_activations_share_the_importance_of_their_result() -> None:
    net = Net()
    x = net.input(5, 6)
    q, k = (net.matmul(x, 8, name=n) for n in "qk")
    v = net.matmul(x, 7, name="v")
    weights = net.softmax(net.op("MatMul", q, net.transpose(k, 0, 2, 1)))
    net.project(net.op("MatMul", weights, v))
    trace = traced(net)
    found = scores(trace)
    expect(found["v"], size(trace, "z").sum(axis=1))
    assert found["q"].tolist() == [1.0] * 8  # q and k are one group


def test_what_no_output_depends_on_scores_nothing() -> None:
    net = Net()
    x = net.input(3, 6, 6)
    net.conv(net.relu(net.conv(x, 5, name="dead")), 4, name="end")
    net.head(net.relu(net.conv(x, 6, name="a")))
    assert scores(traced(net))["dead"].tolist() == [0.0] * 5


def test_deep_networks_neither_overflow_nor_vanish() -> None:
    for scale in (1e3, 1e-6):
        net = Net()
        h = net.input(8)
        for layer in range(150):
            h = net.relu(net.op("MatMul", h, net.normal(8, 8, scale=scale), name=f"l{layer}"))
        net.project(h)
        found = scores(traced(net))
        assert len(found) == 150
        assert all(s.max() == 1.0 and s.min() > 0 for s in found.values())


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 99))
def test_permuting_units_permutes_scores(seed: int) -> None:
    def build(order: Array) -> Net:
        net = Net(seed=seed)
        x, first, second = net.input(5), net.normal(5, 8), net.normal(8, 4)
        h = net.relu(net.op("MatMul", x, first[:, order], name="a"))
        net.output(net.op("MatMul", h, second[order], name="z"))
        return net

    order = np.random.default_rng(seed).permutation(8)
    plain, permuted = (scores(traced(build(o)))["a"] for o in (np.arange(8), order))
    np.testing.assert_allclose(permuted, plain[order], rtol=1e-12)
