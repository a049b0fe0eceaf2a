"""Merging: exact where a kept filter has the direction of a removed one, and no more than that claims."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

import onnxprune
from onnxprune.capture.training import observer
from onnxprune.cut import cut
from onnxprune.model.load import Model, load
from onnxprune.repair.bias import correct_biases
from onnxprune.repair.merge import filters_behind, merge, stand_in
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

ROOT = Path(__file__).resolve().parents[2]
Array = NDArray[Any]


def answer(model: Model, x: Array) -> Array:
    session = onnxruntime.InferenceSession(model.complete_proto().SerializeToString())
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def doubled(normalised: bool, bend: str = "Relu") -> onnx.ModelProto:
    """Filters 4 to 7 are filters 0 to 3 times 2.5, biases too; read by a convolution of nine taps."""
    net = Net(seed=1)
    x = net.input(3, 6, 6, name="x")
    weight, bias = net.normal(8, 3, 3, 3), net.normal(8)
    weight[4:], bias[4:] = 2.5 * weight[:4], 2.5 * bias[:4]
    h = net.op("Conv", x, weight, bias, pads=[1, 1, 1, 1], name="a")
    if normalised:
        gamma, beta, mean, variance = net.positive(8), net.normal(8), net.normal(8), net.positive(8)
        gamma[4:], beta[4:], mean[4:], variance[4:] = gamma[:4], 2.5 * beta[:4], 2.5 * mean[:4], variance[:4]
        h = net.op("BatchNormalization", h, gamma, beta, mean, variance)
    h = net.op("MaxPool", net.op(bend, h), kernel_shape=[2, 2])
    net.output(net.conv(h, 4, 3, name="z"))
    return net.model()


def without(trace: Trace, gone: list[int]) -> NDArray[np.bool_]:
    keep = np.ones(trace.unit_count, bool)
    keep[trace.prunable[0].units[gone]] = False
    return keep


@pytest.mark.parametrize("normalised", [False, True])
def test_parallel_filters_leave_without_a_trace(normalised: bool) -> None:
    trace = trace_model(load(doubled(normalised)))
    keep = without(trace, [0, 5, 2])
    bare = cut(trace, keep)
    merged = merge(trace, keep, bare)
    x = np.random.default_rng(0).standard_normal((4, 3, 6, 6)).astype(np.float32)
    wanted = answer(trace.graph.model, x)
    np.testing.assert_allclose(answer(merged.model, x), wanted, rtol=1e-4, atol=1e-4)
    assert np.abs(answer(bare, x) - wanted).max() > 0.1 and merged.corrected == 1 and not merged.unknown


def test_a_function_that_bends_scales_is_not_passed() -> None:
    trace = trace_model(load(doubled(False, "Sigmoid")))
    keep = without(trace, [0, 5])
    bare = cut(trace, keep)
    merged = merge(trace, keep, bare)
    assert merged.corrected == 0 and merged.unknown == ("z",)
    key = next(n.input[1] for n in bare.proto.graph.node if n.name == "z")
    np.testing.assert_array_equal(merged.model.tensors[key].array(), bare.tensors[key].array())


def test_the_stand_in_is_the_kept_filter_of_the_largest_cosine() -> None:
    filters = np.random.default_rng(0).standard_normal((9, 5))
    filters[7, :-1] = 0  # a constant, which biases make up for
    gone = np.zeros(9, bool)
    gone[[1, 4, 7]] = True
    for least in (0.0, 0.4, 0.7):
        found = stand_in(filters, gone, least)
        for row, i in enumerate(np.flatnonzero(gone)):
            norms = np.linalg.norm(filters, axis=1)
            cosines = [-1.0 if gone[j] else float(filters[i] @ filters[j] / norms[i] / norms[j]) for j in range(9)]
            j = int(np.argmax(cosines))
            wanted = np.zeros(9)
            if cosines[j] >= least and i != 7:
                wanted[j] = norms[i] / norms[j]
            np.testing.assert_allclose(found[row], wanted)


def test_filters_have_their_normalisation() -> None:
    """They are the affine functions of a patch that the network computes."""
    trace = trace_model(load(doubled(True)))
    graph = trace.graph
    conv = next(n for n in graph.nodes if n.label == "z")
    filters = filters_behind(graph, conv.inputs[0])
    assert filters is not None and filters.shape == (8, 3 * 9 + 1)
    behind = next(n.outputs[0] for n in graph.nodes if n.op_type == "BatchNormalization")
    x = np.random.default_rng(0).standard_normal((1, 3, 6, 6)).astype(np.float32)
    inner = observer(graph.model, [behind]).run(None, {"x": x})
    patch = np.append(x[0, :, 1:4, 2:5].ravel(), 1.0)
    np.testing.assert_allclose(filters @ patch, np.asarray(inner[0])[0, :, 2, 3], rtol=1e-4, atol=1e-4)


def test_better_than_biases_alone_on_digits(tmp_path: Path) -> None:
    """Without data, at half of the multiply-accumulates."""
    scores = {}
    with np.load(ROOT / "models" / "digits_test.npz") as test:
        images, labels = test["image"], test["label"]
    for repair in ("bias", "merge", "auto"):
        target = tmp_path / f"{repair}.onnx"
        result = onnxprune.shrink(ROOT / "models" / "digits.onnx", target, target="macs=50%", repair=repair)
        assert onnxprune.verify(ROOT / "models" / "digits.onnx", target).refitted
        assert result.repair is not None
        logits = onnxruntime.InferenceSession(str(target)).run(None, {"image": images})[0]
        scores[repair] = float((np.asarray(logits).argmax(axis=1) == labels).mean())
    assert scores["merge"] > scores["bias"] + 0.1 and scores["auto"] == scores["merge"]


def test_a_shared_weight_is_not_touched() -> None:
    model = doubled(False)
    z = next(n for n in model.graph.node if n.name == "z")
    copy = onnx.NodeProto()
    copy.CopyFrom(z)
    copy.name, copy.output[0] = "twin", "twin"
    model.graph.node.append(copy)
    model.graph.output.append(onnx.ValueInfoProto(name="twin", type=model.graph.output[0].type))
    trace = trace_model(load(model))
    keep = without(trace, [0, 5])
    bare = cut(trace, keep)
    assert numpy_helper.to_array(next(t for t in model.graph.initializer if t.name == z.input[1])).size
    merged, biases = merge(trace, keep, bare), correct_biases(trace, keep, bare)
    assert merged.corrected == biases.corrected == 0
