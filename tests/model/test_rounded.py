"""Which value is the rounding of which, and what that says of the layer before."""

from __future__ import annotations

import numpy as np

from onnxprune.capture.features import residual_partner
from onnxprune.model.graph import Graph, build
from onnxprune.model.load import load
from onnxprune.model.rounded import exact, rounded
from onnxprune.repair.rectified import Clipping, clipping_behind
from tests.builders import Net
from tests.quantized import images, quantized


def graph() -> Graph:
    """A residual block whose Relu the quantiser took for a part of rounding."""
    net = Net()
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 8, name="first"))
    net.output(net.conv(net.add(h, net.conv(h, 8, name="second")), 4, name="last"))
    return build(load(quantized(net.model(), images())))


def output(found: Graph, name: str) -> str:
    return next(node.outputs[0] for node in found.nodes if node.label == name)


def test_pairs_are_seen_through() -> None:
    found = graph()
    for name in ("first", "second"):
        key = output(found, name)
        behind = rounded(found, key)
        assert behind != key and exact(found, behind) == key and rounded(found, behind) == behind
    assert exact(found, output(found, "last")) == output(found, "last")


def test_the_sum_behind_a_rounded_layer() -> None:
    found = graph()
    first, second = (output(found, name) for name in ("first", "second"))
    partner = residual_partner(found, second)
    add = next(node for node in found.nodes if node.op_type == "Add")
    assert partner == (add.outputs[0], rounded(found, first))
    assert residual_partner(found, first) is None


def test_a_quantiser_of_one_side_clips() -> None:
    found = graph()
    assert not any(node.op_type == "Relu" for node in found.nodes)
    phi = clipping_behind(found, output(found, "first"))
    assert isinstance(phi, Clipping) and phi.low == 0 and np.isfinite(phi.high)
    assert clipping_behind(found, output(found, "second")) is None
