"""Integers of inputs have values that exist: rows of what they name, lengths of what they measure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
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
