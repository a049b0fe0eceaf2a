"""How many samples a model takes at once, when its declared shapes leave it open and its nodes do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

import onnxprune
from onnxprune.capture.feeding import runnable
from onnxprune.capture.samples import few_samples, open_samples
from onnxprune.model.load import load
from onnxprune.trace import trace_model
from tests.builders import Net, ints

Array = NDArray[Any]


def split_heads(rows: int, length: int = 5) -> ModelProto:
    """Attention traced with `rows` samples: the batch is written into its Reshapes."""
    net = Net(batch="batch")
    x = net.relu(net.dense(net.input(length, 6), 16, name="a"))
    q, k, v = (net.reshape(net.dense(x, 16, name=n), rows, length, 2, 8) for n in "qkv")
    scores = net.op("MatMul", net.transpose(q, 0, 2, 1, 3), net.transpose(k, 0, 2, 3, 1))
    mixed = net.op("MatMul", net.softmax(scores), net.transpose(v, 0, 2, 1, 3))
    joined = net.reshape(net.transpose(mixed, 0, 2, 1, 3), rows, length, 16)
    net.output(net.dense(net.relu(net.dense(joined, 12, name="b")), 4, name="z"))
    return net.model()


def mixing(length: int = 5) -> ModelProto:
    """Traced with one sample: several run, too, as one long sequence, of which each step sees all others."""
    net = Net(batch="batch")
    x = net.reshape(net.relu(net.dense(net.input(length, 6), 16, name="a")), 1, -1, 16)
    scores = net.op("MatMul", x, net.transpose(x, 0, 2, 1))
    net.output(net.dense(net.op("MatMul", net.softmax(scores), x), 4, name="z"), rank=3)
    return net.model()


def rows(proto: ModelProto, count: int) -> dict[str, Array]:
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim[1:]]
    array = np.random.default_rng(0).standard_normal((count, *shape)).astype(np.float32)
    return {proto.graph.input[0].name: array}


@pytest.mark.parametrize(("proto", "size"), [(split_heads(1), 1), (split_heads(4), 4), (mixing(), 1)])
def test_the_batch_that_runs_is_found(proto: ModelProto, size: int, tmp_path: Path) -> None:
    data = rows(proto, 24)
    traced = trace_model(load(proto))
    found = open_samples(data, traced)
    assert {len(array) for batch in found.batches for array in batch.values()} == {size}
    assert found.independent and found.fit_samples + found.held_out_samples == 24
    assert {len(array) for array in few_samples(data, traced).values()} == {size}
    result = onnxprune.shrink(load(proto), tmp_path / "out.onnx", target="macs=75%", data=data)
    assert result.fidelity is not None and result.fidelity.samples == found.held_out_samples
    onnxprune.verify(load(proto), tmp_path / "out.onnx", data=data)


def test_a_model_that_takes_any_batch_is_left_alone() -> None:
    net = Net()
    net.output(net.dense(net.relu(net.dense(net.input(6), 12)), 4))
    model = load(net.model())
    data = onnxprune.data.open_data(rows(net.model(), 9), model)
    assert runnable(model, data) is data


def graph_network() -> ModelProto:
    """Nodes look up their neighbours: neither rows nor columns of its inputs mean something alone."""
    net = Net()
    feat, edges = net.declare("feat", ["nodes", 6]), net.declare("edges", [2, "n_edges"], np.int64)
    h = net.relu(net.op("MatMul", feat, net.normal(6, 16), name="a"))
    source = net.op("Gather", edges, np.array(0), axis=0)
    met = net.op("Gather", h, source, axis=0)
    net.output(
        net.op("MatMul", net.relu(net.op("MatMul", met, net.normal(16, 12), name="b")), net.normal(12, 3)), rank=2
    )
    return net.model()


def one_graph(nodes: int) -> dict[str, Array]:
    rng = np.random.default_rng(nodes)
    edges = rng.integers(0, nodes, (2, 2 * nodes))
    edges[0, 0] = nodes - 1
    return {"feat": rng.standard_normal((nodes, 6)).astype("f"), "edges": edges}


def test_graphs_are_samples_as_a_whole() -> None:
    traced = trace_model(load(graph_network()))
    found = open_samples(lambda: (one_graph(n) for n in range(6, 26)), traced)
    assert (found.fit_samples, found.held_out_samples, len(found.batches)) == (16, 4, 20)
    single = open_samples(one_graph(9), traced)  # a file with one graph, whose rows do not run alone
    assert [batch["feat"].shape for batch in single.batches] == [(9, 6)] * 2 and single.count == 1


def test_sequences_that_come_in_pieces_stay_whole() -> None:
    net = Net(batch="T")
    lstm = net.op("LSTM", net.input(2, 6), net.normal(1, 64, 6), net.normal(1, 64, 16), hidden_size=16, name="lstm")
    net.hint(lstm, 1, 2, 16)
    y = net.op("Squeeze", lstm, ints(1))
    net.hint(y, 2, 16)
    net.output(net.matmul(y, 5, name="out"), rank=3)
    proto = net.model()
    name = proto.graph.input[0].name
    rng = np.random.default_rng(0)
    found = open_samples(
        lambda: ({name: rng.standard_normal((7, 2, 6)).astype("f")} for _ in range(10)), trace_model(load(proto))
    )
    assert found.independent and {batch[name].shape for batch in found.batches} == {(7, 2, 6)} and found.count == 10
