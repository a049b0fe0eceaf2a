"""Integers of inputs have values that exist: rows of what they name, lengths of what they measure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

import onnxprune
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from onnxprune.model.lookup import is_length, longest, rows_named, table_size
from onnxprune.proof.inputs import cases, feed
from tests.builders import Net, ints

STEPS, WIDTH = 7, 6


def net_with(use: str) -> Net:
    """x (N, 7, 6), and integers n (N,) that are `use`d."""
    net = Net(17, seed=1)
    x, n = net.declare("x", ["N", STEPS, WIDTH]), net.declare("n", ["N"], np.int64)
    most = net.op("ReduceMax", n, keepdims=1)
    if use == "Slice":
        h = net.op("Slice", x, ints(0), net.op("Max", most, ints(1)), ints(1))
    elif use == "GRU":
        steps = net.transpose(x, 1, 0, 2)
        weights = net.normal(1, 3 * 5, WIDTH), net.normal(1, 3 * 5, 5), None
        h = net.squeeze(net.op("GRU", steps, *weights, net.op("Cast", n, to=6), hidden_size=5), 1)
        h = net.transpose(h, 1, 0, 2)
    elif use == "Less":
        steps = net.op("Range", np.array(0), net.op("Gather", net.op("Shape", x), np.array(1)), np.array(1))
        mask = net.op("Less", steps, net.unsqueeze(n, 1))
        h = net.op("Mul", x, net.unsqueeze(net.op("Cast", mask, to=1), 2))
    elif use == "Range":
        count = net.op(
            "ConstantOfShape", net.op("Shape", net.op("Range", np.array(0), net.squeeze(most, 0), np.array(1)))
        )
        h = net.add(x, net.op("ReduceSum", count, keepdims=0))
    else:
        h = net.op(use, x, n, **({"axis": 1} if use == "Gather" else {}))
    net.output(net.op("MatMul", h, net.normal(5 if use == "GRU" else WIDTH, 3)), rank=3)
    return net


@pytest.mark.parametrize("use", ["Slice", "GRU", "Less", "Range"])
def test_lengths_are_of_what_they_measure(use: str) -> None:
    graph = build(load(net_with(use).model()))
    assert is_length(graph, "n") and not is_length(graph, "x") and table_size(graph, "n") is None
    assert longest(graph, infer(graph), "n") == (None if use == "Range" else STEPS)
    found = [feed(graph, {"x": (8, STEPS, WIDTH), "n": (8,)}, seed, 1.0)["n"] for seed in range(5)]
    assert np.min(found) >= 4 - (use == "Range") and np.max(found) == (WIDTH if use == "Range" else STEPS)
    plain = feed(graph, {"x": (8, STEPS, WIDTH), "n": (8,)}, 0, 1.0, lengths=False)["n"]
    assert set(plain.tolist()) <= {0, 1}


def test_rows_of_a_computed_value_are_named_at_the_sizes_of_the_feed() -> None:
    graph = build(load(net_with("Gather").model()))
    assert table_size(graph, "n") is None and rows_named(graph, infer(graph), "n") == STEPS
    values = feed(graph, {"x": (4, STEPS, WIDTH), "n": (400,)}, 0, 1.0)["n"]
    assert set(values.tolist()) == set(range(STEPS))


def messages() -> Net:
    """Each edge (a pair of nodes) adds what its first node says to its second one."""
    net = Net(17, seed=3)
    edges = net.declare("edges", [2, "E"], np.int64)
    h = net.relu(net.gemm(net.declare("nodes", ["V", 5]), 12, name="a"))
    first, second = (net.op("Gather", edges, np.array(k), axis=0) for k in (0, 1))
    said = net.gemm(net.relu(net.gemm(net.op("Gather", h, first, axis=0), 8, name="b")), 12, name="c")
    where = net.op("Expand", net.unsqueeze(second, 1), net.op("Shape", said))
    empty = net.op("Mul", h, net.number(0))
    h = net.add(h, net.op("ScatterElements", empty, where, said, axis=0, reduction="add"))
    net.output(net.gemm(net.relu(h), 3, name="z"), rank=2)
    return net


def test_edges_name_nodes_that_exist(tmp_path: Path) -> None:
    graph = build(load(messages().model()))
    for case in cases(graph, infer(graph)):
        assert case.feed["edges"].max() < len(case.feed["nodes"])
    result: Any = onnxprune.shrink(load(messages().model()), tmp_path / "o.onnx", ratio=0.5)
    assert result.proof.sensitive and not result.proof.skipped_cases


MOVES: dict[str, Callable[[Net, str], str]] = {
    "Gather": lambda net, pairs: net.op("Gather", pairs, np.array(0), axis=1),
    "Slice": lambda net, pairs: net.squeeze(net.slice(pairs, 0, 1, axis=1), 1),
    "Split": lambda net, pairs: net.split(pairs, 1, 1, axis=1)[0],
    "Reshape": lambda net, pairs: net.reshape(pairs, -1),
    "Concat": lambda net, pairs: net.concat(ints(0), net.reshape(pairs, -1), axis=0),
    "Cast": lambda net, pairs: net.op("Cast", net.op("Cast", pairs, to=1), to=7),
    "Transpose": lambda net, pairs: net.op("Gather", net.transpose(pairs, 1, 0), np.array(1), axis=0),
    "Where": lambda net, pairs: net.op("Where", net.op("Less", pairs, np.array(0)), np.array(0), pairs),
    "Max": lambda net, pairs: net.op("Max", np.array(0), pairs),
    "Clip": lambda net, pairs: net.op("Clip", pairs, np.array(0)),
    "TopK": lambda net, pairs: net.many("TopK", 2, pairs, ints(1), axis=1)[0],
    "Unique": lambda net, pairs: net.op("Unique", pairs),
    "Pad": lambda net, pairs: net.op("Pad", pairs, ints(1, 0, 0, 0)),
    "Compress": lambda net, pairs: net.op("Compress", pairs, np.array([False, True]), axis=1),
    "ScatterElements": lambda net, pairs: net.op("ScatterElements", pairs, ints(0, 0)[None], ints(0, 0)[None]),
    "ReduceMax": lambda net, pairs: net.op("ReduceMax", pairs, axes=[1]),
    "Div": lambda net, pairs: net.op("Div", net.add(net.slice(pairs, 0, 1, axis=1), pairs), np.array(2)),
}


@pytest.mark.parametrize("move", MOVES)
def test_places_stay_within_rows_wherever_they_are_moved(move: str) -> None:
    net = Net(18 if move == "Pad" else 17, seed=1)
    h = net.relu(net.gemm(net.declare("nodes", ["V", 6]), 8))
    places = MOVES[move](net, net.declare("pairs", ["E", 2], np.int64))
    net.output(net.op("Gather", h, places, axis=0))
    proto = net.model()
    graph = build(load(proto))
    session = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for rows, pairs in ((1, 1), (1, 30), (5, 200)):
        values = feed(graph, {"nodes": (rows, 6), "pairs": (pairs, 2)}, rows, 1.0)
        session.run(None, values)  # refuses what is out of bounds
        assert values["pairs"].max() < rows
    if move != "Div":
        assert set(values["pairs"].ravel().tolist()) == set(range(5))


@pytest.mark.parametrize(("op_type", "rows"), [("GatherND", 3), ("ScatterND", 3), ("OneHot", 4)])
def test_places_within_every_axis_that_they_name(op_type: str, rows: int) -> None:
    """Pairs index the first two axes of what is (V, 3, 4)."""
    net = Net(17, seed=1)
    h = net.reshape(net.relu(net.gemm(net.declare("nodes", ["V", 6]), 12)), -1, 3, 4)
    pairs = net.declare("pairs", ["E", 2], np.int64)
    if op_type == "OneHot":
        h = net.op("OneHot", pairs, np.array(4), np.array([0.0, 1.0], np.float32))
    elif op_type == "GatherND":
        h = net.op("GatherND", h, pairs)
    else:
        h = net.op("ScatterND", h, pairs, net.op("GatherND", h, pairs))
    net.output(h)
    graph = build(load(net.model()))
    assert rows_named(graph, infer(graph, {"V": 9, "E": 7}), "pairs") == rows


def test_a_table_and_a_computed_value_that_is_shorter() -> None:
    """The same integers look up a table of 50 words, and rows of a value of 5."""
    net = Net(17, seed=1)
    ids, h = net.declare("ids", ["N", "S"], np.int64), net.gemm(net.declare("nodes", [5, 6]), 8)
    net.output(net.add(net.op("Gather", net.normal(50, 8), ids), net.op("Gather", net.relu(h), ids)))
    graph = build(load(net.model()))
    assert table_size(graph, "ids") == 50
    assert feed(graph, {"nodes": (5, 6), "ids": (2, 300)}, 0, 1.0)["ids"].max() == 4
