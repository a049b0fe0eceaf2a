"""Networks that draw numbers draw the same ones in both, and are compared to the last output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import onnxprune
from onnxprune.model.load import load
from onnxprune.proof.judge import Differs
from tests.builders import Net
from tests.proof.networks import proof_of


def noisy(op_type: str, **attributes: Any) -> ModelProto:
    net = Net(17, seed=2)
    x = net.declare("x", ["N", 6])
    h = net.relu(net.gemm(x, 12, name="a"))
    out = net.gemm(h, 6, name="z")
    if op_type == "Dropout":
        out = net.op("Dropout", out, net.number(0.5), np.array(True))
    elif op_type == "Bernoulli":
        out = net.op("Mul", out, net.op("Bernoulli", net.op("Sigmoid", net.gemm(h, 6, name="gate"))))
    else:
        out = net.add(out, net.op(op_type, x, dtype=1, **attributes))
    last = net.op("Gemm", net.relu(net.gemm(out, 12, name="b")), net.constant(net.normal(3, 12), "last_w"), transB=1)
    net.output(last, rank=2)
    return net.model()


@pytest.mark.parametrize("op_type", ["RandomNormalLike", "RandomUniformLike", "Dropout", "Bernoulli"])
def test_noise_is_the_same_in_both(op_type: str, tmp_path: Path) -> None:
    assert proof_of(noisy(op_type), tmp_path).sensitive
    with pytest.raises(Differs):
        proof_of(noisy(op_type), tmp_path, {"last_w": lambda value: value * np.float32(1.01)})


def test_sparse_weights_of_a_network_with_noise(tmp_path: Path) -> None:
    result = onnxprune.sparsify(load(noisy("RandomNormalLike")), tmp_path / "o.onnx", sparsity=0.5)
    assert result.sparsity.proof is not None and result.sparsity.proof.sensitive
