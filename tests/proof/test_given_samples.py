"""Proofs on samples besides random inputs, and of models that take no inputs of any size that is tried."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxprune
from onnxprune.errors import DataError, ModelError, UsageError
from onnxprune.model.load import load
from onnxprune.proof.masked import prove
from onnxprune.trace import trace_model
from tests.builders import Net, ints

Array = NDArray[Any]
SIDE = 11


def of_one_size() -> Net:
    """It declares open sizes, but takes images of 11 by 11 only."""
    net = Net(17, seed=5)
    h = net.conv(net.input(3, "H", "W", name="x"), 12, 3, name="a", strides=[2, 2])
    h = net.op("Reshape", net.relu(net.conv(net.relu(h), 8, 3, name="b")), ints(0, 8 * 3 * 3))
    net.output(net.op("Gemm", h, net.normal(4, 72), net.normal(4), transB=1), rank=2)
    return net


def images(count: int = 12) -> Array:
    return np.random.default_rng(0).standard_normal((count, 3, SIDE, SIDE)).astype(np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(of_one_size().model().SerializeToString())
    np.savez(tmp_path / "x.npz", x=images())
    return path


def test_without_samples_it_is_refused_with_a_way_on(model: Path) -> None:
    with pytest.raises(ModelError) as caught:
        onnxprune.shrink(model, model.with_name("out.onnx"), ratio=0.4)
    assert "cannot run the original on random inputs" in caught.value.message
    assert caught.value.hint is not None and "--data" in caught.value.hint
    assert not model.with_name("out.onnx").exists()


def test_samples_are_enough(model: Path) -> None:
    out = model.with_name("out.onnx")
    result = onnxprune.shrink(model, out, ratio=0.4, data=model.with_name("x.npz"))
    assert result.proof is not None
    assert result.proof.cases[-1] == "samples" and result.proof.sensitive
    again = onnxprune.verify(model, out, data=model.with_name("x.npz"))
    assert again.proof is not None and again.proof.cases == result.proof.cases
    with pytest.raises(ModelError, match="random inputs"):
        onnxprune.verify(model, out)


def test_where_random_inputs_run_samples_are_one_case_more(tmp_path: Path) -> None:
    net = Net(17, seed=6)
    net.head(net.relu(net.conv(net.input(3, 8, 8, name="x"), 12, 3, name="a")))
    proto, data = net.model(), {"x": images()[:, :, :8, :8]}
    without = onnxprune.shrink(load(proto), tmp_path / "a.onnx", ratio=0.5).proof
    result = onnxprune.shrink(load(proto), tmp_path / "b.onnx", ratio=0.5, data=data).proof
    assert without is not None and result is not None
    assert result.cases == (*without.cases, "samples")
    shown = onnxprune.verify(load(proto), tmp_path / "b.onnx", data=data).proof
    assert shown is not None and shown.cases == result.cases


def test_a_wrong_network_is_told_apart_on_samples(tmp_path: Path) -> None:
    """The case must be able to fail: a cut that keeps other channels than the plan says."""
    trace = trace_model(load(of_one_size().model()))
    group = trace.prunable[0]
    keep = np.ones(trace.unit_count, bool)
    keep[group.units[:3]] = False
    other = np.ones(trace.unit_count, bool)
    other[group.units[3:6]] = False
    path = tmp_path / "wrong.onnx"
    path.write_bytes(onnxprune.cut.cut(trace, other).complete_proto().SerializeToString())
    with pytest.raises(onnxprune.errors.VerificationError, match=r"differs by .*\(samples\)"):
        prove(trace, keep, path, samples={"x": images(2)})


def test_samples_that_do_not_fit_are_refused(model: Path) -> None:
    out = model.with_name("out.onnx")
    onnxprune.shrink(model, out, ratio=0.4, data=model.with_name("x.npz"))
    with pytest.raises(DataError, match="x"):
        onnxprune.verify(model, out, data={"x": images()[:, :2]})
    with pytest.raises(UsageError, match="preprocess= has no effect without data="):
        onnxprune.verify(model, out, preprocess="imagenet")


def test_samples_that_belong_together_stay_together(tmp_path: Path) -> None:
    """Along time two of them are too few for a kernel of three."""
    net = Net(17, seed=3)
    h = net.unsqueeze(net.transpose(net.declare("x", ["T", 6]), 1, 0), 0)
    h = net.relu(net.op("Conv", h, net.normal(16, 6, 3), net.normal(16), name="a"))
    h = net.op("Conv", net.relu(h), net.normal(4, 16, 3), net.normal(4), name="z")
    net.output(net.op("ReduceMean", h, axes=[2], keepdims=0), rank=2)
    data = {"x": np.random.default_rng(0).standard_normal((60, 6)).astype(np.float32)}
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(load(net.model()), out, ratio=0.4, data=data)
    assert result.proof is not None and "samples" in result.proof.cases
    again = onnxprune.verify(load(net.model()), out, data=data).proof
    assert again is not None and "samples" in again.cases


@pytest.mark.parametrize("symbol", ["?", "N", None])
def test_batches_that_are_hard_coded_are_tried_whatever_the_symbol(symbol: str | None, tmp_path: Path) -> None:
    net = Net(17, seed=2, batch=4)
    h = net.relu(net.conv(net.input(3, 6, 6, name="x"), 12, 3, name="a"))
    net.output(net.gemm(net.op("Reshape", net.conv(h, 8, 3), ints(4, -1)), 5), rank=2)
    proto = net.model()
    dim = proto.graph.input[0].type.tensor_type.shape.dim[0]
    dim.ClearField("dim_value")
    if symbol:
        dim.dim_param = symbol
    result = onnxprune.shrink(load(proto), tmp_path / "out.onnx", ratio=0.4)
    assert result.proof is not None and result.proof.cases
