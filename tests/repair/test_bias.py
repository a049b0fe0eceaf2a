"""Biases corrected by means that samples show."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

import onnxprune
from onnxprune.model.load import load
from onnxprune.repair.moments import measured, moments
from onnxprune.trace import trace_model
from tests.builders import Net

Feed = dict[str, NDArray[np.float32]]


def plain() -> tuple[bytes, Feed]:
    """Pointwise convolutions without normalisation: the weights say nothing of means. 60 samples."""
    net = Net()
    x = net.input(3, 5, 5)
    h = net.relu(net.conv(x, 24, name="a"))
    net.output(net.conv(h, 4, name="z", bias=False))
    feed = {x: np.random.default_rng(1).standard_normal((60, 3, 5, 5)).astype(np.float32) + 1}
    return net.model().SerializeToString(), feed


def outputs(model: bytes | str, feed: Feed) -> NDArray[np.float64]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, dict(feed))[0], np.float64)


@pytest.mark.parametrize("repair", ["bias", "merge"])
def test_the_mean_of_the_outputs_stays_on_the_samples_that_were_fitted(tmp_path: Path, repair: str) -> None:
    model, feed = plain()
    (tmp_path / "m.onnx").write_bytes(model)
    out = tmp_path / "out.onnx"
    often = {name: np.concatenate([array] * 10) for name, array in feed.items()}  # so that held-out ones are known
    found = onnxprune.shrink(tmp_path / "m.onnx", out, ratio=0.5, data=often, repair=repair, criterion="l1")
    assert found.repair is not None and found.repair.corrected_layers == 1 and not found.repair.skipped
    before, after = outputs(model, feed), outputs(str(out), feed)
    onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "bare.onnx", ratio=0.5, repair="none", criterion="l1")
    naive = outputs(str(tmp_path / "bare.onnx"), feed)
    spread = before.std()
    assert np.abs((after - before).mean(axis=(0, 2, 3))).max() < 0.03 * spread
    assert np.abs((naive - before).mean(axis=(0, 2, 3))).max() > 0.1 * spread


def test_means_and_variances_of_samples() -> None:
    model, feed = plain()
    (name,) = feed
    trace = trace_model(load(onnx.load_from_string(model)))
    key = next(node.inputs[0] for node in trace.graph.nodes if node.label == "z")
    batches = [{name: array[k : k + 7] for name, array in feed.items()} for k in range(0, 60, 7)]
    found = measured(trace, {key, name}, batches)
    assert np.isnan(moments(trace)[key].mean).all(), "the weights do not tell"
    weight, bias = (trace.graph.constants[k].array() for k in trace.graph.nodes[0].inputs[1:3])
    (x,) = feed.values()
    inside = np.maximum(np.einsum("oi,nihw->nohw", weight[:, :, 0, 0], x) + bias[:, None, None], 0)
    np.testing.assert_allclose(found[key].mean, inside.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(found[key].variance, inside.var(axis=(0, 2, 3)), rtol=1e-4)
    assert found.keys() == {key, name}
    np.testing.assert_allclose(found[name].mean, x.mean(axis=(0, 2, 3)), rtol=1e-5)
