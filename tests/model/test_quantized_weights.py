"""The working form of files whose weights are integers, and back: what changes, and what must stay as it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxprune.model.graph import build
from onnxprune.model.grids import grid_of
from onnxprune.model.load import Model, load
from onnxprune.model.plain import hoisted, lowered, settable, stored_grids
from tests.builders import Net
from tests.quantized import executed, images, quantized

Array = NDArray[Any]
FEEDS = images(24)


def network(opset: int = 17, bias: bool = True) -> onnx.ModelProto:
    """A convolution, a depthwise and a transposed one, and a product."""
    net = Net(opset)
    h = net.relu(net.conv(net.input(3, 8, 8, name="x"), 8, 3, bias=bias, name="first"))
    h = net.relu(net.conv(h, 8, 3, bias=bias, group=8, name="depthwise"))
    h = net.relu(net.conv(h, 12, bias=bias, name="second"))
    h = net.op("Flatten", net.op("GlobalAveragePool", net.relu(net.transposed(h, 6, name="up"))))
    net.output(net.gemm(h, 4, name="last"))
    return net.model()


def answer(model: Model, feeds: dict[str, Array] = FEEDS) -> Array:
    """As the file says it: with its optimisations the runtime may round inputs of products that the file does not."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.complete_proto().SerializeToString(), options)
    return np.asarray(session.run(None, feeds)[0])


def changed(model: Model, change: Callable[[str, Array], Array]) -> Model:
    """The file after `change` of all floats of its working form, by name."""
    working = hoisted(model)
    floats = {k: t for k, t in working.tensors.items() if t.dtype == TensorProto.FLOAT and t.shape}
    new = {k: t.with_array(change(k, t.array()).astype(np.float32)) for k, t in floats.items()}
    return lowered(model, working.replace(working.proto, {**working.tensors, **new}))


@pytest.mark.parametrize("options", [{}, {"per_channel": False}], ids=["per channel", "per tensor"])
def test_the_working_form_computes_the_same_and_is_undone(options: dict[str, Any]) -> None:
    model = load(quantized(network(), FEEDS, **options))
    working = hoisted(model)
    kinds = {t.dtype for n in working.proto.graph.node for k in n.input if (t := working.tensors.get(k))}
    weights = [working.tensors[n.input[1]] for n in working.proto.graph.node if n.op_type in ("Conv", "Gemm")]
    assert {t.dtype for t in weights} == {TensorProto.FLOAT} and TensorProto.INT32 not in kinds
    scale = np.abs(answer(model)).max()
    assert np.abs(answer(working) - answer(model)).max() < 0.03 * scale
    assert lowered(model, working).complete_proto().SerializeToString() == model.complete_proto().SerializeToString()
    assert changed(model, lambda _, a: a).complete_proto() == model.complete_proto()


def undos(model: Model) -> dict[str, Any]:
    """Grids of DequantizeLinear by output."""
    graph = build(model)
    found = {n.outputs[0]: grid_of(graph, n) for n in graph.nodes if n.op_type == "DequantizeLinear"}
    return {key: grid for key, grid in found.items() if grid is not None}


def steps(model: Model) -> list[tuple[Array, Array]]:
    """Of all layers: the scale of the bias, and that of the input times that of the weight."""
    graph, grids = build(model), undos(model)
    found = []
    for node in graph.nodes:
        if node.op_type in ("Conv", "ConvTranspose", "Gemm"):
            x = graph.constants[graph.nodes[graph.producer[node.inputs[0]]].inputs[1]].array()
            weight, bias = grids[node.inputs[1]].scale, grids[node.inputs[2]].scale
            found.append((bias, np.broadcast_to(x * weight, bias.shape)))
    return found


def operators(model: Model) -> dict[str, int]:
    return executed(model.complete_proto())


@pytest.mark.parametrize("options", [{}, {"per_channel": False}], ids=["per channel", "per tensor"])
@pytest.mark.parametrize("how", ["twice", "one channel", "slightly"])
def test_scales_grow_where_weights_do_and_those_of_biases_with_them(options: dict[str, Any], how: str) -> None:
    model = load(quantized(network(), FEEDS, **options))
    grids = stored_grids(model)
    factors = {"twice": 2.0, "slightly": 0.99}

    def change(name: str, array: Array) -> Array:
        if name not in grids:
            return array
        if how == "one channel":
            return np.concatenate([array[:1] * 3, array[1:]])
        return array * factors[how]

    new = changed(model, change)
    assert [n.op_type for n in new.proto.graph.node] == [n.op_type for n in model.proto.graph.node]
    assert set(new.tensors) == set(model.tensors)
    for bias, product in steps(new):
        np.testing.assert_allclose(bias, product, rtol=1e-6)
    before, after, working = undos(model), undos(new), hoisted(model)
    again = hoisted(new)
    for key, grid in grids.items():
        wanted = change(key, working.tensors[key].array())
        grown = stored_grids(new)[key]
        assert np.abs(again.tensors[key].array() - wanted).max() <= grown.scale.max() * 0.5001
        factor = after[key].scale / before[key].scale
        if how == "one channel" and factor.ndim:
            assert (factor[1:] == 1).all() or grid.axis != 0
        assert (factor >= 1).all()
        assert how == "one channel" or (how == "slightly") == (factor == 1).all()
    assert operators(new) == operators(model)
    if how == "twice":  # biases are what they were, in larger steps
        for key, tensor in again.tensors.items():
            if key not in grids and tensor.dtype == TensorProto.FLOAT and key in before:
                np.testing.assert_allclose(
                    tensor.array(), working.tensors[key].array(), atol=before[key].scale.max() * 2
                )


def test_a_bias_that_32_bits_do_not_hold_takes_its_weight_along() -> None:
    model = load(quantized(network(), FEEDS))
    working, name = hoisted(model), ""
    for node in working.proto.graph.node:
        if node.name == "second":
            name = node.input[2]
    huge = undos(model)[name].scale.max() * 2.0**33
    new = changed(model, lambda key, a: np.full_like(a, huge) if key == name else a)
    np.testing.assert_allclose(hoisted(new).tensors[name].array(), huge, rtol=1e-6)
    for bias, product in steps(new):
        np.testing.assert_allclose(bias, product, rtol=1e-6)


def test_scales_that_others_read_stay() -> None:
    """Two weights of one scale: the one that grows gets its own."""
    proto = quantized(network(), FEEDS, per_channel=False)
    nodes = {n.name: n for n in proto.graph.node}
    undo = {n.output[0]: n for n in proto.graph.node if n.op_type == "DequantizeLinear"}
    one, other = (undo[nodes[name].input[1]] for name in ("first", "second"))
    one.input[1] = other.input[1]
    model = load(proto)
    new = changed(model, lambda key, a: 2 * a if key == one.output[0] else a)
    assert (
        len(new.tensors) == len(model.tensors) + 1
        and undos(new)[other.output[0]].scale == undos(model)[other.output[0]].scale
    )
    assert undos(new)[one.output[0]].scale == pytest.approx(2 * undos(model)[one.output[0]].scale, rel=0.02)
    name = other.input[0]
    assert np.array_equal(new.tensors[name].array(), model.tensors[name].array())
    onnx.checker.check_model(new.complete_proto(), full_check=True)


def test_new_biases_are_integers_like_their_layers() -> None:
    """Next to a bias in float the runtime would compute the layer in float."""
    from onnxprune.repair.least_squares import with_biases

    model = load(quantized(network(bias=False), FEEDS))
    working = hoisted(model)
    layers = {n.output[0] for n in working.proto.graph.node if n.op_type == "Conv"}
    added = with_biases(working, layers)
    names = [n.input[2] for n in added.proto.graph.node if n.output[0] in layers]
    assert len(names) == 3 and all(name in added.tensors for name in names)
    rng = np.random.default_rng(3)
    values = {
        k: added.tensors[k].with_array(rng.standard_normal(added.tensors[k].shape).astype(np.float32)) for k in names
    }
    new = lowered(model, added.replace(added.proto, {**added.tensors, **values}))
    onnx.checker.check_model(new.complete_proto(), full_check=True)
    assert operators(new) == operators(model)
    again = hoisted(new)
    for name in names:
        np.testing.assert_allclose(again.tensors[name].array(), values[name].array(), atol=1e-3)
    for bias, product in steps(new):
        np.testing.assert_allclose(bias, product, rtol=1e-6)
    wanted = answer(added.replace(added.proto, {**added.tensors, **values}))
    assert np.abs(answer(new) - wanted).max() < 0.05 * np.abs(wanted).max()


KINDS: dict[str, tuple[int, Array, int, dict[str, int]]] = {  # type, scale, zero point, attributes
    "int8": (TensorProto.INT8, np.float32(0.02), 0, {}),
    "uint8": (TensorProto.UINT8, np.float32(0.02), 120, {}),
    "int16": (TensorProto.INT16, np.linspace(1e-4, 3e-4, 6, dtype=np.float32), 0, {"axis": 1}),
    "int4": (TensorProto.INT4, np.linspace(0.1, 0.3, 6, dtype=np.float32), 1, {"axis": -1}),
    "uint4": (TensorProto.UINT4, np.float32(0.2), 8, {}),
    "blocks": (
        TensorProto.INT4,
        np.linspace(0.1, 0.3, 12, dtype=np.float32).reshape(2, 6),
        0,
        {"axis": 0, "block_size": 5},
    ),
    "blocks of int8": (TensorProto.INT8, np.full((8, 2), 0.02, np.float32), 3, {"axis": 1, "block_size": 3}),
}


def product(kind: str, spelling: str = "plain") -> onnx.ModelProto:
    """y = x W for a W of 8 x 6."""
    dtype, scale, zero, attributes = KINDS[kind]
    rng = np.random.default_rng(0)
    numpy_type = helper.tensor_dtype_to_np_dtype(dtype)
    low, high = (0, 16) if kind == "uint4" else (-8, 8) if dtype == TensorProto.INT4 else (-100, 120)
    q = rng.integers(max(low, 0) if "u" in kind else low, high, (8, 6)).astype(numpy_type)
    tensors = [
        numpy_helper.from_array(q, "q"),
        numpy_helper.from_array(np.asarray(scale), "s"),
        numpy_helper.from_array(np.full(np.shape(scale), zero, numpy_type), "z"),
    ]
    nodes = [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["w"], **attributes)]
    if spelling == "transposed":
        nodes.append(helper.make_node("Transpose", ["w"], ["t"]))
    if spelling == "constant":
        nodes.insert(0, helper.make_node("Constant", [], ["q"], value=tensors.pop(0)))
    if spelling == "trained":
        known = build(load(helper.make_model(helper.make_graph(nodes, "g", [], [], tensors), opset_imports=OPSET)))
        grid = grid_of(known, known.nodes[0])
        assert grid is not None
        tensors[0] = numpy_helper.from_array(grid.values(q) + np.float32(1e-3), "f")
        nodes.insert(0, helper.make_node("QuantizeLinear", ["f", "s", "z"], ["q"], **attributes))
    last = "t" if spelling == "transposed" else "w"
    nodes.append(helper.make_node("MatMul", ["x", last], ["y"]))
    width = (6, 8) if spelling == "transposed" else (8, 6)
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, width[0]])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, width[1]])]
    return helper.make_model(
        helper.make_graph(nodes, "g", inputs, outputs, tensors), opset_imports=OPSET, ir_version=10
    )


OPSET = [helper.make_opsetid("", 21)]


@pytest.mark.parametrize("spelling", ["plain", "transposed", "constant", "trained"])
@pytest.mark.parametrize("kind", KINDS)
def test_all_integers_come_back(kind: str, spelling: str) -> None:
    model = load(product(kind, spelling))
    key = "t" if spelling == "transposed" else "w"
    assert settable(build(model), key)
    working = hoisted(model)
    assert [n.op_type for n in working.proto.graph.node] == ["MatMul"]
    x = np.random.default_rng(1).standard_normal((3, 6 if spelling == "transposed" else 8)).astype(np.float32)
    np.testing.assert_allclose(answer(working, {"x": x}), answer(model, {"x": x}), rtol=1e-5, atol=1e-5)
    assert lowered(model, working).complete_proto() == model.complete_proto()
    grid = stored_grids(model)[key]
    old = working.tensors[key].array()
    np.testing.assert_array_equal(grid.rounded(old), old)
    for factor in (0.5, 2.0):
        new = changed(model, lambda _, a, factor=factor: factor * a)
        again, found = hoisted(new).tensors[key].array(), stored_grids(new)[key]
        assert (found.scale >= grid.scale).all() and np.abs(again - factor * old).max() <= 0.5001 * found.scale.max()
        np.testing.assert_allclose(answer(hoisted(new), {"x": x}), answer(new, {"x": x}), rtol=1e-5, atol=1e-5)
        assert lowered(new, hoisted(new)).complete_proto() == new.complete_proto()
        onnx.checker.check_model(new.complete_proto(), full_check=True)
    largest = changed(model, lambda _, a: np.where(np.abs(a) == np.abs(a).max(), 1000 * a, a))
    unlike = stored_grids(largest)[key].scale != grid.scale
    assert unlike.any() and (unlike.ndim == 0 or not unlike.all())
