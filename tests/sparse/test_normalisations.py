"""Normalisations behind sparse layers are part of their weights, where nobody else reads what lies in between."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.model.load import load
from onnxprune.sparse import Mask, dense_zeros, parse_pattern, rewrite
from tests.builders import Net
from tests.sparse.sessions import needs_library, session

KEEP = np.random.default_rng(0).random((4, 1, 6, 3, 3)) < 0.4


def network(kind: str) -> Net:
    """A layer, BatchNormalization, Add of a shortcut, Relu; `kind` read: the layer's own output is an output, too."""
    net = Net(batch=1)
    x = net.relu(net.conv(net.input(6, 9, 7), 16, name="first"))
    if kind == "depthwise":
        inner = net.conv(x, 16, kernel=3, pads=[1] * 4, name="layer", group=16)
    else:
        inner = net.conv(net.conv(x, 6, name="to"), 16, kernel=3, pads=[1] * 4, name="layer")
    y = net.op("BatchNormalization", inner, *(net.positive(16) for _ in range(4)), epsilon=0.01)
    y = net.relu(net.add(y, x))
    net.output(*([y, inner] if kind == "read" else [y]))
    return net


@needs_library
@pytest.mark.parametrize("library", [True, False])
@pytest.mark.parametrize("kind", ["alone", "read", "depthwise"])
def test_results_are_those_of_the_dense_network(library: bool, kind: str) -> None:
    net = network(kind)
    model = load(net.model())
    weight = next(node.input[1] for node in model.proto.graph.node if node.name == "layer")
    keep = np.repeat(KEEP, 4, axis=1).reshape(16, 6, 3, 3)
    masks = {} if kind == "depthwise" else {weight: Mask(keep, parse_pattern("4x1"))}
    done = rewrite(model, masks, depthwise=() if masks else (weight,))
    kinds = [node.op_type for node in done.model.proto.graph.node]
    assert ("BatchNormalization" in kinds) == (kind == "read")
    assert ("SparseConvAddRelu" in kinds) == (kind == "alone")
    assert done.depthwise == (() if masks else (weight,))
    feed = {net.inputs[0].name: np.random.default_rng(1).standard_normal((1, 6, 9, 7)).astype(np.float32)}
    expected = session(dense_zeros(model, masks).complete_proto(), library=False).run(None, feed)
    found = session(done.model.complete_proto(), library=library).run(None, feed)
    for a, b in zip(found, expected, strict=True):
        assert np.abs(a - b).max() <= 1e-5 * np.abs(b).max()


@pytest.mark.parametrize(("scale", "variance"), [(1.0, -1.0), (1.0, 0.0), (3e38, 1e-12)])
def test_what_float32_does_not_hold_stays_a_node_without_a_warning(scale: float, variance: float) -> None:
    net = Net(batch=1)
    inner = net.conv(net.input(6, 9, 7), 16, kernel=3, name="layer")
    rows = (np.full(16, value, np.float32) for value in (scale, 0.5, 0.5, variance))
    net.output(net.op("BatchNormalization", inner, *rows, epsilon=0.0))
    model = load(net.model())
    weight = next(node.input[1] for node in model.proto.graph.node if node.name == "layer")
    keep = np.repeat(KEEP, 4, axis=1).reshape(16, 6, 3, 3)
    with np.errstate(all="raise"):
        done = rewrite(model, {weight: Mask(keep, parse_pattern("4x1"))})
    assert [node.op_type for node in done.model.proto.graph.node] == ["SparseConv", "BatchNormalization"]
