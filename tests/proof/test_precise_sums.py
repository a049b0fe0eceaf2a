"""Sums of bytes are compared precisely, unless ONNX Runtime then refuses a model that it takes otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import helper

import onnxprune
from onnxprune.model.load import load
from onnxprune.proof.masked import check_runs
from onnxprune.proof.scratch import save
from onnxprune.proof.tasks import imprecise, run_tasks
from tests.hostile.support import info, model_of, weights

N = helper.make_node


def shared_zero_point() -> bytes:
    """Three int8 convolutions whose DequantizeLinear share one zero point, as tools that merge equal constants do."""
    rng = np.random.default_rng(0)
    tensors = {"z": np.int8(0), "s": np.float32(0.02), "xs": np.float32(0.05)}
    nodes, x = [], "x"
    for i, (out, fan) in enumerate([(16, 3), (16, 16), (4, 16)]):
        tensors[f"w{i}"] = rng.integers(-127, 128, (out, fan, 3, 3)).astype(np.int8)
        nodes += [
            N("QuantizeLinear", [x, "xs", "z"], [f"q{i}"]),
            N("DequantizeLinear", [f"q{i}", "xs", "z"], [f"d{i}"]),
            N("DequantizeLinear", [f"w{i}", "s", "z"], [f"v{i}"]),
            N("Conv", [f"d{i}", f"v{i}"], [f"c{i}"], name=f"conv{i}", pads=[1] * 4),
            N("Relu", [f"c{i}"], [f"r{i}"]),
        ]
        x = f"r{i}"
    proto = model_of(nodes, [info("x", [1, 3, 8, 8])], [info(x, [1, 4, 8, 8])], tensors, opset=13, ir_version=8)
    return bytes(proto.SerializeToString())


def test_what_the_runtime_takes_the_proof_takes(tmp_path: Path) -> None:
    path, out = tmp_path / "m.onnx", tmp_path / "o.onnx"
    path.write_bytes(shared_zero_point())
    result = onnxprune.shrink(load(path), out, ratio=0.5)
    assert result.proof is not None and result.proof.sensitive
    assert onnxprune.verify(load(path), out).failure() is None
    check_runs(out, refused=(), feed={"x": weights(1, 3, 8, 8)}, threads=1)


def test_both_models_run_in_the_same_way(tmp_path: Path) -> None:
    """One that could be run precisely is not, where the other one cannot be."""
    (tmp_path / "a.onnx").write_bytes(shared_zero_point())
    net = model_of([N("Relu", ["x"], ["y"])], [info("x", [1, 3, 8, 8])], [info("y", [1, 3, 8, 8])])
    (tmp_path / "b.onnx").write_bytes(net.SerializeToString())
    feeds = [save(tmp_path / "x", {"x": weights(1, 3, 8, 8)})]
    both = [{"name": k, "model": str(tmp_path / f"{k}.onnx"), "feeds": feeds, "out": str(tmp_path / k)} for k in "ab"]
    runs = run_tasks(tmp_path, both, 1)
    assert not any("load" in one for one in runs)
    refused = any("imprecise" in one for one in runs)  # by some versions of the runtime
    assert all(("imprecise" in one) == refused for one in runs) and bool(imprecise(runs)) == refused
    alone = run_tasks(tmp_path, both[1:], 1)
    assert not imprecise(alone) and "error" not in alone[0]["cases"][0]
