"""Samples of which an axis is empty, where the model leaves it open: a decoder's first step has no past."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import onnxprune
from onnxprune.errors import DataError
from tests.builders import Array, Net

Samples = Callable[[], Iterator[dict[str, Array]]]


def decoder() -> Net:
    """Tokens (N, s, 8) read themselves and a past (N, p, 8)."""
    net = Net(17, seed=1)
    x, past = net.declare("x", ["N", "s", 8]), net.declare("past", ["N", "p", 8])
    everything = net.concat(past, x, axis=1)
    seen = net.op("MatMul", net.softmax(net.op("MatMul", x, net.transpose(everything, 0, 2, 1))), everything)
    net.output(net.matmul(net.relu(net.matmul(seen, 32)), 8), rank=3)
    return net


def samples(lengths: tuple[int, ...]) -> Samples:
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    def some() -> Iterator[dict[str, Array]]:
        for k in range(24):
            yield {"x": draw(1, 3, 8), "past": draw(1, lengths[k % len(lengths)], 8)}

    return some


@pytest.mark.parametrize("lengths", [(0,), (0, 2), (3, 0, 1)])
def test_a_past_may_be_empty(lengths: tuple[int, ...], tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(decoder().model().SerializeToString())
    for repair in ("least-squares", "reconstruct"):
        result = onnxprune.shrink(
            path, tmp_path / "o.onnx", ratio=0.5, data=samples(lengths), repair=repair, force=True
        )
        assert result.plan.removed_count and result.fidelity is not None
    assert result.before.macs == 3 * 8 * 32 * 2 + 2 * 3 * 8 * (3 + max(lengths))
    proof = onnxprune.verify(path, tmp_path / "o.onnx", data=samples(lengths)).proof
    assert proof is not None and "samples" in proof.cases
    onnxprune.sparsify(path, tmp_path / "s.onnx", sparsity=0.5, data=samples(lengths))


def test_a_width_that_the_model_fixes_may_not(tmp_path: Path) -> None:
    data = {"x": np.zeros((6, 3, 0), np.float32), "past": np.zeros((6, 0, 8), np.float32)}
    path = tmp_path / "x.onnx"
    path.write_bytes(decoder().model().SerializeToString())
    with pytest.raises(DataError, match=r"shape \(N, 3, 0\) does not fit input x"):
        onnxprune.shrink(path, tmp_path / "o.onnx", ratio=0.5, data=data)
