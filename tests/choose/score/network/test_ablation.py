"""Ablation against networks that have really lost a unit."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.capture.batches import first_samples
from onnxprune.capture.masked import MaskedNetwork
from onnxprune.choose.score.network import Network, criteria, get, network_criterion, network_scores
from onnxprune.choose.score.registry import FloatArray, Needs
from onnxprune.cut import cut
from onnxprune.errors import DataError, ModelError, UsageError
from onnxprune.model.load import Model, load
from onnxprune.trace import Trace, trace_model
from tests.builders import Array, Net

Feeds = list[dict[str, Array]]


def traced(net: Net) -> Trace:
    return trace_model(load(net.model()))


def feeds(net: Net, count: int = 12, size: int = 5) -> Feeds:
    value = net.inputs[0]
    shape = [d.dim_value for d in value.type.tensor_type.shape.dim][1:]
    x = np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32)
    return [{value.name: x[k : k + size]} for k in range(0, count, size)]


def outputs(model: Model, batches: Feeds) -> list[Array]:
    session = onnxruntime.InferenceSession(model.complete_proto().SerializeToString())
    runs = [session.run(None, feed) for feed in batches]
    return [np.concatenate(values).astype(np.float64) for values in zip(*runs, strict=True)]


def without_each_unit(trace: Trace, batches: Feeds) -> list[list[Array]]:
    """The outputs of the cut network, for every unit of every group."""
    result = []
    for group in trace.prunable:
        for unit in group.units:
            keep = np.ones(trace.unit_count, bool)
            keep[unit] = False
            result.append(outputs(cut(trace, keep), batches))
    return result


def softmax(f: Array) -> Array:
    e = np.exp(f - f.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def divergence(p: Array, q: Array) -> float:
    return float((p * (np.log(p) - np.log(q))).sum(axis=-1).mean())


def relative(f: Array, g: Array) -> float:
    return float(((f - g) ** 2).sum() / (f**2).sum())


def found(trace: Trace, batches: Feeds) -> FloatArray:
    return np.concatenate(network_scores(trace, trace.prunable, batches, "ablation"))


def classifier(last: str = "") -> Net:
    net = Net()
    h = net.relu(net.stem(6))
    h = net.add(h, net.conv(net.relu(net.bn(net.conv(h, 5, 3, name="b", pads=[1] * 4))), 6, name="c"))
    y = net.gemm(net.op("Flatten", net.op("GlobalAveragePool", net.relu(h))), 4, name="z")
    net.output(net.op(last, y) if last else y)
    return net


@pytest.mark.parametrize("last", ["", "Softmax"])
def test_class_scores_are_compared_by_their_divergence(last: str) -> None:
    net = classifier(last)
    trace, batches = traced(net), feeds(net)
    (whole,) = outputs(trace.graph.model, batches)
    p = whole if last else softmax(whole)
    expected = [divergence(p, y if last else softmax(y)) for (y,) in without_each_unit(trace, batches)]
    assert len(expected) == 11
    np.testing.assert_allclose(found(trace, batches), expected, rtol=1e-2, atol=1e-7)


def test_other_outputs_by_the_relative_square_of_the_change() -> None:
    net = Net()
    net.head(net.relu(net.conv(net.relu(net.stem(6)), 5, name="b")))
    trace, batches = traced(net), feeds(net)
    (whole,) = outputs(trace.graph.model, batches)
    expected = [relative(whole, y) for (y,) in without_each_unit(trace, batches)]
    np.testing.assert_allclose(found(trace, batches), expected, rtol=1e-4)


def test_outputs_are_averaged_and_integers_left_out() -> None:
    net = Net()
    h = net.relu(net.stem(6))
    net.head(h)
    net.head(net.conv(h, 3, name="c"), name="y")
    net.output(net.op("ArgMax", h, axis=1), dtype=np.int64)
    trace, batches = traced(net), feeds(net)
    whole = outputs(trace.graph.model, batches)
    cuts = without_each_unit(trace, batches)
    expected = [np.mean([relative(whole[k], y[k]) for k in (0, 1)]) for y in cuts]
    np.testing.assert_allclose(found(trace, batches), expected, rtol=1e-4)


def test_normalisation_sees_only_what_is_left() -> None:
    net = Net(opset=17)
    h = net.tokens(8)
    h = net.op("LayerNormalization", h, net.positive(8), net.normal(8), axis=-1)
    net.project(net.relu(h))
    trace, batches = traced(net), feeds(net)
    assert trace.prunable
    (whole,) = outputs(trace.graph.model, batches)
    expected = [relative(whole, y) for (y,) in without_each_unit(trace, batches)]
    np.testing.assert_allclose(found(trace, batches), expected, rtol=1e-3)


def test_dead_units_change_nothing() -> None:
    net = Net()
    weight, bias = net.normal(6, 3, 3, 3), net.normal(6)
    weight[2], bias[2] = 0, -1
    net.head(net.relu(net.op("Conv", net.input(3, 6, 6), weight, bias, name="a")))
    scores = found(traced(net), feeds(net))
    assert scores[2] == 0 and (np.delete(scores, 2) > 0).all()


def test_a_unit_that_holds_the_network_together_counts_most() -> None:
    """Without it the output is 0 / 0."""
    net = Net()
    weight, bias = np.zeros((4, 3), np.float32), np.zeros(4, np.float32)
    weight[1:], bias[0] = net.normal(3, 3), 1
    h = net.op("Gemm", net.input(3), weight, bias, name="a", transB=1)
    only = np.array([[1, 0, 0, 0], [0, 0, 0, 0]], np.float32)
    some = np.array([[0, 1, 0, 0], [0, 0, 2, 1]], np.float32)
    below = net.op("Relu", net.op("Gemm", h, only[:1], transB=1))
    net.output(net.op("Div", net.op("Gemm", h, some, transB=1), below))
    scores = found(traced(net), feeds(net))
    assert np.isfinite(scores).all() and scores[0] == scores.max() > scores.min() >= 0


def test_samples_are_bounded_and_progress_is_told() -> None:
    net = classifier()
    trace = traced(net)
    many = feeds(net, 90, 40)
    steps: list[tuple[int, int]] = []
    whole = network_scores(trace, trace.prunable, many, "ablation", progress=lambda done, of: steps.append((done, of)))
    assert steps == [(k + 1, 11) for k in range(11)]
    first = [{name: array[:32] for name, array in many[0].items()}]
    np.testing.assert_array_equal(np.concatenate(whole), found(trace, first))
    assert [s.shape for s in whole] == [(g.size,) for g in trace.prunable]
    assert network_scores(trace, [], many, "ablation") == []


def test_batches_of_a_fixed_size_stay_whole() -> None:
    free, fixed = Net(), Net(batch=10)
    for net in (free, fixed):
        net.head(net.relu(net.stem(4)))
    batches = feeds(free, 40, 10)
    assert [len(b["x1"]) for b in first_samples(load(free.model()), batches, 15)] == [10, 5]
    assert [len(b["x1"]) for b in first_samples(load(fixed.model()), batches, 15)] == [10, 10]
    assert len(first_samples(load(free.model()), batches, 1000)) == 4


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99))
def test_permuting_filters_permutes_scores(seed: int) -> None:
    def build(order: Array) -> Net:
        net = Net(seed=seed)
        x, first, second = net.input(5), net.normal(5, 8), net.normal(8, 4)
        h = net.relu(net.op("MatMul", x, first[:, order], name="a"))
        net.output(net.op("MatMul", h, second[order], name="z"))
        return net

    order = np.random.default_rng(seed).permutation(8)
    nets = build(np.arange(8)), build(order)
    plain, permuted = (found(traced(net), feeds(net)) for net in nets)
    np.testing.assert_allclose(permuted, plain[order], rtol=1e-3, atol=1e-7)


def test_what_cannot_be_compared_is_said() -> None:
    net = Net()
    net.output(net.op("ArgMax", net.conv(net.relu(net.stem(6)), 4, name="z"), axis=1), dtype=np.int64)
    with pytest.raises(ModelError, match="needs an output of floating-point numbers"):
        found(traced(net), feeds(net))
    net = Net()
    net.output(net.op("Log", net.conv(net.relu(net.stem(6)), 4, name="z")))
    with pytest.raises(ModelError, match="holds NaN or infinity on the calibration samples"):
        found(traced(net), feeds(net))
    with pytest.raises(UsageError, match="criterion='ablation' needs calibration data"):
        found(traced(classifier()), [])
    with pytest.raises(DataError, match="cannot run the model on the calibration data"):
        found(traced(classifier()), [{"x1": np.zeros((2, 5, 6, 6), np.float32)}])


def test_models_that_no_message_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxprune.capture.masked.MOST_BYTES", 100)
    with pytest.raises(ModelError, match="less than 2 GB"):
        MaskedNetwork(traced(classifier()), [])


def test_registry() -> None:
    assert [(c.name, c.needs) for c in criteria()] == [("ablation", Needs.DATA), ("nisp", Needs.WEIGHTS)]
    assert all(c.doc.endswith(".") and len(c.source) > 15 for c in criteria())
    with pytest.raises(UsageError, match="unknown criterion 'nips'") as caught:
        get("nips")
    assert "did you mean nisp?" in str(caught.value)

    def silent(network: Network) -> list[FloatArray]:
        raise AssertionError

    with pytest.raises(ValueError, match="network criterion 'new' has no docstring"):
        network_criterion("new", needs=Needs.DATA, source="")(silent)
    with pytest.raises(ValueError, match="network criterion 'nisp' is registered twice"):
        network_criterion("nisp", needs=Needs.DATA, source="")(silent)
