"""What is said of multiply-accumulates that are counted for assumed sizes, and of those that cannot be counted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.capture.samples import traced_for
from onnxprune.errors import ModelError
from onnxprune.model.load import Model, load
from onnxprune.report.render import plain
from onnxprune.report.shrink import report
from onnxprune.report.sparsify import report as sparse_report
from tests.builders import Array, Net

HIDDEN = 64


def steps() -> Model:
    """Steps of an open number through two layers."""
    net = Net(17, seed=1)
    h = net.relu(net.matmul(net.declare("x", ["N", "T", 8]), 32))
    net.output(net.matmul(h, 8), rank=3)
    return load(net.model())


def chosen_rows() -> Model:
    """All rows go through a layer that must stay; those whose first number is positive through two more."""
    net = Net(17, seed=1)
    x = net.declare("x", ["N", 8])
    picked = net.op("Greater", net.squeeze(net.slice(x, 0, 1, axis=1), 1), np.float32(0))
    rows = net.op("Compress", net.relu(net.gemm(x, 24, name="first")), picked, axis=0)
    h = net.relu(net.op("Gemm", rows, net.normal(24, HIDDEN), name="a"))
    net.output(net.op("Gemm", h, net.normal(HIDDEN, 4), name="z"), rank=2)
    return load(net.model())


def rows(first: float) -> list[dict[str, Array]]:
    """Of 24 samples only the third one begins with `first`; the others are not picked."""
    x = -np.abs(np.random.default_rng(0).standard_normal((24, 8))).astype(np.float32)
    x[2, 0] = first
    return [{"x": row[None]} for row in x]


def test_sizes_that_were_assumed_are_named(tmp_path: Path) -> None:
    note = "note: MACs are for N = 1, T = 256, as assumed without samples (--data)"
    result = onnxprune.shrink(steps(), tmp_path / "a.onnx", ratio=0.5)
    assert note in plain(report(result))
    assert note in plain(sparse_report(onnxprune.sparsify(steps(), tmp_path / "b.onnx", sparsity=0.5)))
    data = {"x": np.random.default_rng(0).standard_normal((24, 5, 8)).astype(np.float32)}
    assert "MACs are for" not in plain(report(onnxprune.shrink(steps(), tmp_path / "c.onnx", ratio=0.5, data=data)))


def test_unknown_work_is_not_as_much_work(tmp_path: Path) -> None:
    result = onnxprune.shrink(chosen_rows(), tmp_path / "a.onnx", ratio=0.5, include="a")
    text = plain(report(result))
    assert result.before.uncounted == 2 and "as much work" not in text
    assert "note: the MACs of 2 nodes are unknown and not counted: samples (--data) tell their sizes" in text
    assert "fewer parameters, work that cannot be counted" in text
    sparse = plain(sparse_report(onnxprune.sparsify(chosen_rows(), tmp_path / "b.onnx", sparsity=0.5)))
    assert "less work, as far as it can be counted" in sparse


def test_unknown_work_is_not_what_must_stay(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="the MACs of 2 nodes are unknown and not counted") as caught:
        onnxprune.shrink(chosen_rows(), tmp_path / "a.onnx", target="macs=60%", verify=False)
    assert "1 node with 100 % of the MACs must stay" in caught.value.message


@pytest.mark.parametrize(("first", "counted"), [(1.0, 8 * 24 + 24 * HIDDEN + HIDDEN * 4), (-1.0, 8 * 24)])
def test_sizes_are_measured_where_something_goes_through(first: float, counted: int, tmp_path: Path) -> None:
    """In the first sample nothing is picked, and layers behind seem to cost nothing."""

    def samples() -> Iterator[dict[str, Array]]:
        yield from rows(first)

    trace, _ = traced_for(chosen_rows(), samples)
    assert {shape[0] for shape in trace.facts.measured.values()} == {int(first > 0)}
    if first > 0:
        result = onnxprune.shrink(chosen_rows(), tmp_path / "a.onnx", target="macs=60%", data=samples)
        assert result.before.macs == counted and not result.before.uncounted
