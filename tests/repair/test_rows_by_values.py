"""Layers whose rows come out of the values: none at all, or others in the smaller network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import ModelProto

import onnxprune
from onnxprune.capture.features import Linear, linear_layer, output_sizes, positions
from onnxprune.capture.rows import NO_ROWS, OTHER_ROWS
from onnxprune.capture.sensitivity import judged
from onnxprune.model.graph import build
from onnxprune.model.load import load
from onnxprune.options.lists import READER_CRITERIA, SAMPLE_CRITERIA
from onnxprune.trace import trace_model
from tests.builders import Net, ints

Array = NDArray[Any]


def chosen(threshold: float) -> ModelProto:
    """A score for each of 16 places, and two layers for the places whose score is high enough."""
    net = Net()
    x = net.relu(net.dense(net.input(16, 6), 24, name="a"))
    scores = net.op("Squeeze", net.matmul(x, 1, name="score"), ints(2))
    places = net.op("NonZero", net.op("Greater", scores, net.number(threshold)))
    found = net.op("GatherND", x, net.op("Transpose", places, perm=[1, 0]))
    h = net.relu(net.op("MatMul", found, net.normal(24, 16), name="b"))
    net.output(net.op("MatMul", h, net.normal(16, 5), name="z"), rank=2)
    return net.model()


def samples(proto: ModelProto, count: int = 40) -> dict[str, Array]:
    name = proto.graph.input[0].name
    return {name: np.random.default_rng(0).standard_normal((count, 16, 6)).astype(np.float32)}


@pytest.mark.parametrize("repair", ["reconstruct", "least-squares", "scale-shift", "merge", "bias"])
@pytest.mark.parametrize(("threshold", "reason"), [(0.0, OTHER_ROWS), (99.0, NO_ROWS)])
def test_they_keep_their_weights_and_the_report_says_why(
    threshold: float, reason: str, repair: str, tmp_path: Path
) -> None:
    proto = chosen(threshold)
    result = onnxprune.shrink(
        load(proto),
        tmp_path / "out.onnx",
        ratio=0.5,
        criterion="l1",
        scope="local",
        multiple_of=4,
        repair=repair,
        data=samples(proto),
    )
    assert result.repair is not None and result.written
    if repair in ("reconstruct", "least-squares"):
        assert {one.name: one.reason for one in result.repair.skipped}["z"] == reason


@pytest.mark.parametrize("threshold", [0.0, 99.0])
@pytest.mark.parametrize("criterion", sorted({*READER_CRITERIA, *SAMPLE_CRITERIA} - {"ablation"}))
def test_criteria_that_look_at_samples_do_without(threshold: float, criterion: str, tmp_path: Path) -> None:
    proto = chosen(threshold)
    onnxprune.shrink(load(proto), tmp_path / "out.onnx", ratio=0.5, criterion=criterion, data=samples(proto))


def test_outputs_are_judged_before_the_rows_are_chosen() -> None:
    traced = trace_model(load(chosen(0.0)))
    names = {traced.graph.nodes[traced.graph.producer[key]].label for key in judged(traced)}
    assert names.isdisjoint({"b", "z"}) and names


@pytest.mark.parametrize("threshold", [0.0, 99.0])
def test_masks_are_chosen_by_weights(threshold: float, tmp_path: Path) -> None:
    proto = chosen(threshold)
    result = onnxprune.sparsify(
        load(proto),
        tmp_path / "out.onnx",
        sparsity=0.5,
        pattern="unstructured",
        emit="dense-zeros",
        data=samples(proto),
    )
    assert result.sparsity is not None and result.written


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3]},
        {"pads": [1, 0, 2, 1], "dilations": [2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
    ],
)
@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_sizes_of_an_output_follow_from_those_of_the_input(kind: str, attributes: dict[str, Any]) -> None:
    if kind == "ConvTranspose" and "auto_pad" in attributes:
        return
    net = Net()
    x = net.input(3, 9, 8)
    y = net.op(kind, x, net.normal(*((4, 3, 3, 2) if kind == "Conv" else (3, 4, 3, 2))), **attributes)
    net.output(y)
    graph = build(load(net.model()))
    layer = linear_layer(graph, graph.nodes[0])
    assert isinstance(layer, Linear)
    assert output_sizes(layer, (1, 3, 9, 8)) == positions(layer, np.zeros(net.shape(y)))
