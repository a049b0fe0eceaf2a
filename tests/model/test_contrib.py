"""Shapes behind operators of com.microsoft."""

from __future__ import annotations

import numpy as np

from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import load
from tests.builders import MICROSOFT, Net


def test_products_with_packed_weights_are_as_wide_as_they_say() -> None:
    net = Net()
    x = net.declare("x", [2, 5, 40])
    packed, scales = np.zeros((24, 3, 8), np.uint8), np.ones((24, 3), np.float32)
    y = net.op("MatMulNBits", x, packed, scales, domain=MICROSOFT, K=40, N=24, bits=4, block_size=16)
    net.output(net.op("Relu", y), rank=3)
    facts = infer(build(load(net.model())), {})
    assert facts.shapes[y] == (2, 5, 24)
