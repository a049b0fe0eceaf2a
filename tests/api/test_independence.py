"""Rows of the inputs that mean something only together, as along time: they are neither shuffled nor cut apart."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

import onnxprune
from onnxprune.capture.independence import rows_are_samples
from onnxprune.capture.samples import open_samples
from onnxprune.model.load import load
from onnxprune.trace import trace_model
from tests.builders import Net, ints

Array = NDArray[Any]


def by_time(*, reads_first: int = 6) -> ModelProto:
    """x (time, batch, features): a layer, an LSTM along time, a layer."""
    net = Net(batch="T")
    x = net.matmul(net.input("N", reads_first), 24, name="in")
    lstm = net.op("LSTM", net.relu(x), net.normal(1, 64, 24), net.normal(1, 64, 16), hidden_size=16, name="lstm")
    net.hint(lstm, 1, 2, 16)
    y = net.op("Squeeze", lstm, ints(1))
    net.hint(y, 2, 16)
    net.output(net.matmul(y, 5, name="out"), rank=3)
    return net.model()


def attention_over_rows() -> ModelProto:
    net = Net()
    x = net.dense(net.input(8), 12, name="in")
    weights = net.softmax(net.op("Mul", net.op("MatMul", x, net.transpose(x, 1, 0)), net.number(0.1)))
    net.output(net.dense(net.op("MatMul", weights, x), 4, name="out"))
    return net.model()


def pictures() -> ModelProto:
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8), 8, 3, name="a"))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", h)), 4, name="z"))
    return net.model()


def channels_first_output() -> ModelProto:
    """The samples are the second axis of the output."""
    net = Net()
    net.output(net.transpose(net.dense(net.relu(net.dense(net.input(6), 12)), 4), 1, 0))
    return net.model()


def chance() -> ModelProto:
    """Two runs differ, so it cannot be told."""
    net = Net()
    h = net.dense(net.input(6), 12)
    net.output(net.dense(net.op("Mul", h, net.op("RandomNormalLike", h)), 4))
    return net.model()


def mean_over_rows() -> ModelProto:
    net = Net()
    h = net.relu(net.dense(net.input(6), 12, name="in"))
    net.output(net.dense(net.op("ReduceMean", h, axes=[0], keepdims=1), 4, name="out"))
    return net.model()


def rows(proto: ModelProto, count: int, *shape: int) -> dict[str, Array]:
    return {proto.graph.input[0].name: np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32)}


@pytest.mark.parametrize(
    ("proto", "shape", "samples"),
    [
        (by_time(), (2, 6), False),
        (attention_over_rows(), (8,), False),
        (mean_over_rows(), (6,), False),
        (pictures(), (3, 8, 8), True),
        (channels_first_output(), (6,), True),
        (chance(), (6,), True),
    ],
    ids=["time", "attention", "mean", "pictures", "transposed", "chance"],
)
@pytest.mark.parametrize("count", [2, 9])
def test_a_row_alone_and_among_others(proto: ModelProto, shape: tuple[int, ...], samples: bool, count: int) -> None:
    assert rows_are_samples(trace_model(load(proto)), rows(proto, count, *shape)) == samples


def test_a_single_row_has_no_others() -> None:
    assert rows_are_samples(trace_model(load(by_time())), rows(by_time(), 1, 2, 6))


def test_a_sequence_stays_in_order_and_its_end_judges() -> None:
    proto = by_time()
    feed = rows(proto, 30, 2, 6)
    ((name, whole),) = feed.items()
    found = open_samples(feed, trace_model(load(proto)))
    fit, judge = found.batches
    assert not found.independent and found.held_out == 1
    np.testing.assert_array_equal(fit[name], whole[:24])
    np.testing.assert_array_equal(judge[name], whole[24:])
    assert any("may be time" in note for note in found.notes)


def test_samples_that_stand_alone_are_drawn() -> None:
    proto = pictures()
    feed = rows(proto, 30, 3, 8, 8)
    ((name, whole),) = feed.items()
    found = open_samples(feed, trace_model(load(proto)))
    assert found.independent and not found.notes
    assert not np.array_equal(np.concatenate([batch[name] for batch in found.batches]), whole)


def test_the_default_repair_of_a_network_along_time_is_as_good_as_least_squares(tmp_path: Path) -> None:
    """It learned from pairs of steps in time, drawn at random: far off on whole sequences."""
    proto = by_time()
    model = load(proto)
    feed = rows(proto, 40, 2, 6)
    errors = []
    for repair in ("auto", "least-squares"):
        out = tmp_path / f"{repair}.onnx"
        result = onnxprune.shrink(model, out, ratio=0.5, data=feed, repair=repair, seed=0)
        assert result.plan.removed_count > 0
        fresh = {name: array[::-1].copy() for name, array in feed.items()}
        a, b = (_run(source, fresh) for source in (proto.SerializeToString(), str(out)))
        errors.append(float(np.linalg.norm(a - b) / np.linalg.norm(a)))
        if repair == "auto":
            rebuilt = result.repair.reconstruction if result.repair else None
            assert rebuilt is not None and rebuilt.reason == "rows of its inputs are no samples of their own"
    assert errors[0] == pytest.approx(errors[1], rel=1e-6)


def _run(source: Any, feed: dict[str, Array]) -> Array:
    session = ort.InferenceSession(source, providers=["CPUExecutionProvider"])
    found: Array = session.run(None, feed)[0]
    return found
