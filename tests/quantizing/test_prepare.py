"""The prepared form: it computes what the original does, with normalisations inside layers and a later opset."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from onnxprune.errors import ModelError
from onnxprune.model.load import Model, load
from onnxprune.quantizing.prepare import OPSET, prepared, with_folded_normalisations
from tests.builders import Net


def run(model: Model, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.complete_proto().SerializeToString())
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


def layer(net: Net, x: str, kind: str) -> str:
    if kind == "transposed":
        return net.transposed(x, 6, name="t")
    return net.conv(x, 6, name="c", group=2 if kind == "grouped" else 1)


@pytest.mark.parametrize("kind", ["plain", "grouped", "transposed"])
@pytest.mark.parametrize("opset", [9, 11, 17])
def test_normalisations_become_part_of_the_layer_before(kind: str, opset: int) -> None:
    net = Net(opset=opset)
    h = net.relu(net.bn(layer(net, net.input(4, 6, 6), kind)))
    net.output(net.conv(h, 3))
    model = load(net.model())
    form = prepared(model)
    assert form.opset() >= OPSET
    assert "BatchNormalization" not in {node.op_type for node in form.proto.graph.node}
    x = net.rng.standard_normal((2, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(form, x), run(model, x), rtol=1e-4, atol=1e-5)


def test_what_others_read_stays() -> None:
    net = Net()
    h = net.conv(net.input(4, 6, 6), 6)
    net.output(net.add(net.bn(h), h))
    model = load(net.model())
    assert with_folded_normalisations(model) is model


def test_names_and_descriptions_stay() -> None:
    net = Net(opset=11)
    net.output(net.relu(net.conv(net.input(4, 6, 6), 6, name="first")))
    proto = net.model()
    proto.metadata_props.add(key="author", value="somebody")
    form = prepared(load(proto))
    assert [node.name for node in form.proto.graph.node] == [node.name for node in proto.graph.node]
    assert [(one.key, one.value) for one in form.proto.metadata_props] == [("author", "somebody")]


def test_an_opset_that_cannot_be_converted_is_refused() -> None:
    net = Net(opset=9)
    h = net.conv(net.input(4, 6, 6), 6)
    net.output(net.hint(net.op("Affine", h, alpha=2.0), 1, 6, 6, 6))
    with pytest.raises(ModelError, match="opset 9 has no quantisers with channels"):
        prepared(load(net.model()))
