"""A small network that reads the images of digits: reconstruction trains it in a second, and makes it better."""

from __future__ import annotations

from pathlib import Path

import onnx

from tests.builders import Net


def small_network(path: Path) -> Path:
    """Four convolutions, two of them around a sum, and a classifier; one input `image` as that of digits.onnx."""
    net = Net(seed=0)
    around = {"kernel": 3, "pads": [1] * 4}
    h = net.relu(net.conv(net.input(1, 8, 8, name="image"), 12, name="a", **around))
    h = net.op("MaxPool", h, kernel_shape=[2, 2], strides=[2, 2])
    inner = net.relu(net.conv(h, 16, name="b", **around))
    h = net.relu(net.add(h, net.conv(inner, 12, name="c", **around)))
    h = net.relu(net.conv(h, 24, name="d", **around))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", h)), 10, name="z"))
    onnx.save(net.model(), str(path))
    return path
