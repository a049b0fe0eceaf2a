"""What the original passes, the result passes: full check, strict inference, quantisers; and no weights without use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto

import onnxprune
from tests.downstream.conftest import Feed, accepted, recorded
from tests.downstream.networks import NETWORKS, images, no_bias, one_bias, residual

Make = Callable[[], ModelProto]


def saved(make: Make, tmp_path: Path) -> tuple[Path, ModelProto, Feed]:
    model = recorded(make())
    path = tmp_path / "m.onnx"
    onnx.save(model, path)
    rng = np.random.default_rng(0)
    constants = {tensor.name for tensor in model.graph.initializer}
    feed = {
        value.name: rng.standard_normal([dim.dim_value or 2 for dim in value.type.tensor_type.shape.dim]).astype("f")
        for value in model.graph.input
        if value.name not in constants
    }
    accepted(path, model, feed)
    return path, model, feed


def samples(feed: Feed) -> Feed:
    rng = np.random.default_rng(1)
    return {name: rng.standard_normal((40, *value.shape[1:])).astype("f") for name, value in feed.items()}


@pytest.mark.parametrize("make", NETWORKS)
def test_a_cut(tmp_path: Path, make: Make) -> None:
    path, model, feed = saved(make, tmp_path)
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(path, out, ratio=0.5, repair="none", multiple_of=1)
    assert result.plan.removed_count and result.proof is not None and not result.proof.refused
    accepted(out, model, feed)


@pytest.mark.parametrize("make", [images, no_bias, one_bias])
@pytest.mark.parametrize("repair", ["bias", "merge", "scale-shift", "least-squares", "reconstruct"])
def test_a_repair(tmp_path: Path, make: Make, repair: str) -> None:
    path, model, feed = saved(make, tmp_path)
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(path, out, ratio=0.5, repair=repair, multiple_of=1, data=samples(feed))
    assert result.plan.removed_count
    accepted(out, model, feed)
    onnxprune.verify(path, out)


@pytest.mark.parametrize("make", NETWORKS[:4])
@pytest.mark.parametrize("emit", ["operators", "dense-zeros", "sparse-initializers"])
def test_zeros(tmp_path: Path, make: Make, emit: str) -> None:
    """Sparse initializers are a form of storage that onnx's inference does not take; all else does."""
    if make.__name__ == "listed_inputs" and emit == "operators":
        make = lambda: images(opset=9)  # noqa: E731  # sparse operators need that
    path, model, feed = saved(make, tmp_path)
    out = tmp_path / "out.onnx"
    onnxprune.sparsify(path, out, sparsity=0.5, repair="none", emit=emit)
    if emit == "dense-zeros":
        accepted(out, model, feed)
    elif emit == "operators":
        onnx.checker.check_model(str(out), full_check=True)
        onnx.shape_inference.infer_shapes(onnx.load(out), check_type=True, strict_mode=True, data_prop=True)


def test_packed_and_unpacked(tmp_path: Path) -> None:
    path, model, feed = saved(images, tmp_path)
    out, packed, again = (tmp_path / name for name in ("out.onnx", "p.onnxpack", "again.onnx"))
    onnxprune.shrink(path, out, ratio=0.5, repair="none", multiple_of=1)
    onnxprune.pack(out, packed)
    onnxprune.unpack(packed, again)
    accepted(again, model, feed)


def test_blocks(tmp_path: Path) -> None:
    path, model, feed = saved(residual, tmp_path)
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(path, out, ratio=0.4, repair="none", units="blocks")
    assert result.plan.removed_count
    accepted(out, model, feed)
