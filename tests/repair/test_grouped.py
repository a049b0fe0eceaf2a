"""Convolutions of groups, depthwise and transposed ones: the linear view against ONNX Runtime, stacked solutions
against one problem at a time, least squares of networks of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from onnxprune.capture.features import Linear, input_rows, linear_layer, output_rows, positions_of
from onnxprune.capture.layers import matched, with_bias
from onnxprune.capture.moments import Moments, accumulate
from onnxprune.capture.solve import solve
from onnxprune.capture.walker import Walker
from onnxprune.cut import cut
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.repair.least_squares import least_squares
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
FORMS: list[tuple[str, int, dict[str, Any]]] = [
    ("Conv", 3, {"group": 6, "pads": [1, 0, 2, 1]}),
    ("Conv", 3, {"group": 6, "strides": [2, 1], "dilations": [1, 2]}),
    ("Conv", 3, {"group": 3, "pads": [1, 1, 1, 1]}),
    ("Conv", 3, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", 2, {"auto_pad": "SAME_LOWER", "strides": [1, 2]}),
    ("Conv", 3, {"auto_pad": "SAME_LOWER", "strides": [3, 1], "group": 6}),
    ("Conv", 1, {"auto_pad": "SAME_UPPER", "strides": [3, 2]}),
    ("Conv", 3, {"auto_pad": "VALID", "strides": [1, 2]}),
    ("ConvTranspose", 2, {"strides": [2, 2]}),
    ("ConvTranspose", 3, {"strides": [2, 3], "pads": [1, 0, 0, 2], "output_padding": [1, 0]}),
    ("ConvTranspose", 1, {"pads": [1, 1, 0, 0]}),
    ("ConvTranspose", 3, {"group": 6, "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("ConvTranspose", 2, {"group": 3, "dilations": [2, 1]}),
]


def layer_of(op_type: str, kernel: int, attributes: dict[str, Any]) -> tuple[Model, Linear]:
    net = Net(seed=3)
    x = net.input(6, 7, 8, name="x")
    make = net.conv if op_type == "Conv" else net.transposed
    net.output(make(x, 12, kernel, **attributes))
    model = load(net.model())
    graph = build(model)
    layer = linear_layer(graph, graph.nodes[-1])
    assert layer is not None
    return model, layer


@pytest.mark.parametrize(("op_type", "kernel", "attributes"), FORMS)
def test_the_linear_view_multiplies_to_the_output(op_type: str, kernel: int, attributes: dict[str, Any]) -> None:
    model, layer = layer_of(op_type, kernel, attributes)
    x = np.random.default_rng(0).standard_normal((3, 6, 7, 8)).astype(np.float32)
    session = onnxruntime.InferenceSession(model.complete_proto().SerializeToString())
    y = np.asarray(session.run(None, {"x": x})[0])
    picked = np.arange(0, positions_of(layer, y), 5)
    weight, assert_bias = model.tensors[layer.weight].array(), layer.bias
    assert assert_bias is not None
    rows = layer.stacked(input_rows(layer, x, picked))
    wanted = layer.stacked(output_rows(layer, y)[picked] - model.tensors[assert_bias].array())
    np.testing.assert_allclose(rows @ layer.matrix(weight), wanted, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(layer.unmatrix(layer.matrix(weight), weight.shape).astype(np.float32), weight)


@pytest.mark.parametrize("with_bias", [True, False])
def test_a_stack_is_solved_like_one_group_after_the_other(with_bias: bool) -> None:
    layer = layer_of("Conv", 3, {"group": 3})[1]
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((4, 6, 7, 8)).astype(np.float32) for _ in range(3)]
    for x in xs:
        x[:, 4:] = 0  # nothing to learn in the last group
    ts = [rng.standard_normal((4, 12, 5, 6)).astype(np.float32) for _ in xs]
    split = accumulate(layer, xs, ts, 1, keep_rows=True)
    start, ridge = rng.standard_normal((3, 19, 4)), 0.1
    found = solve(split.fit, start, ridge, with_bias)
    assert found is not None and split.fit_rows is not None and split.held_out_rows is not None
    for g in range(2):
        x, t = split.fit_rows.x[g].astype(np.float64), split.fit_rows.t[g].astype(np.float64)
        pull = ridge * (x[:, :-1] ** 2).sum() / 18
        if not with_bias:
            x, t = x[:, :-1], t - start[g, -1]
        lines = np.sqrt(pull) * np.eye(18, x.shape[1])
        wanted = np.linalg.lstsq(np.vstack([x, lines]), np.vstack([t, lines @ start[g, : x.shape[1]]]), rcond=None)[0]
        np.testing.assert_allclose(found[g, : x.shape[1]], wanted, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found[2, :-1], start[2, :-1], rtol=1e-6)
    rows = split.held_out_rows
    errors = ((rows.x.astype(np.float64) @ found - rows.t) ** 2).sum(axis=(1, 2)) / rows.x.shape[1]
    np.testing.assert_allclose(split.held_out.errors(found), errors, rtol=1e-5)
    assert split.held_out.error(found) == pytest.approx(errors.sum(), rel=1e-5)


def test_power_of_groups_is_that_of_all_outputs() -> None:
    rng = np.random.default_rng(0)
    x, t = rng.standard_normal((2, 50, 3)).astype(np.float32), rng.standard_normal((2, 50, 4)).astype(np.float32)
    moments = Moments.zero(3, 4, 2)
    moments.add(x, t)
    assert moments.power == pytest.approx(float(t.var(axis=1, dtype=np.float64).sum()), rel=1e-5)


def separable(last: str = "Relu") -> Trace:
    """Depthwise, of groups, transposed depthwise, transposed of groups."""
    net = Net(seed=1)
    x = net.input(2, 6, 6, name="x")
    h = net.relu(net.conv(x, 12, 3, pads=[1, 1, 1, 1]))
    h = net.relu(net.conv(h, 12, 3, group=12, pads=[1, 1, 1, 1], name="depthwise"))
    h = net.relu(net.conv(h, 12, 1, name="pointwise"))
    h = net.relu(net.conv(h, 12, 3, group=3, pads=[1, 1, 1, 1], name="grouped"))
    h = net.relu(net.transposed(h, 12, 2, name="transposed", strides=[2, 2]))
    h = net.op(last, net.transposed(h, 12, 2, group=12, name="transposed depthwise"))
    h = net.relu(net.transposed(h, 12, 2, group=3, name="transposed grouped"))
    net.output(net.conv(h, 3))
    return trace_model(load(net.model()))


def feeds(count: int = 8) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((10, 2, 6, 6)).astype(np.float32)} for _ in range(count)]


def some(trace: Trace) -> NDArray[np.bool_]:
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        blocks = np.zeros(group.size, np.int64) if group.blocks is None else group.blocks
        for block in np.unique(blocks):
            units = group.units[blocks == block]
            keep[units[: len(units) // 4]] = False
    return keep


def distance(trace: Trace, model: Model) -> float:
    x = np.random.default_rng(9).standard_normal((20, 2, 6, 6)).astype(np.float32)
    a, b = (
        onnxruntime.InferenceSession(m.complete_proto().SerializeToString()).run(None, {"x": x})[0]
        for m in (trace.graph.model, model)
    )
    return float(((a - b) ** 2).sum())


def test_every_form_is_refitted_and_gets_better() -> None:
    trace = separable()
    keep = some(trace)
    bare = cut(trace, keep)
    refit = least_squares(trace, keep, bare, feeds(), 2)
    assert not refit.skipped
    named = {fit.node: fit for fit in refit.layers}
    assert {"depthwise", "pointwise", "grouped", "transposed", "transposed depthwise", "transposed grouped"} <= set(
        named
    )
    first = named["depthwise"]  # its channels that stay see what they saw: nothing to gain but rounding
    assert 0 <= first.after <= first.before < 1e-6
    for name in ("grouped", "transposed", "transposed depthwise", "transposed grouped"):
        assert named[name].ridge > 0 and named[name].after < named[name].before, name
    assert distance(trace, refit.model) < 0.5 * distance(trace, bare)


def test_a_depthwise_layer_is_solved_for_what_it_sees() -> None:
    """The refitted taps are the ridge solution on the inputs of the network so far, against the original's outputs."""
    trace = separable(last="Elu")
    keep = some(trace)
    bare = cut(trace, keep)
    refit = least_squares(trace, keep, bare, feeds(), 2)
    original = Walker(trace.graph.model, feeds(), trace.facts.dtypes)
    current = Walker(refit.model, feeds(), trace.facts.dtypes)
    node = next(n for n in current.graph.nodes if n.label == "transposed depthwise")
    layer = linear_layer(current.graph, node)
    assert layer is not None and layer.groups == 9
    part = matched(
        trace.graph,
        layer,
        original,
        current,
        2,
        node.index,
        lambda key, v: trace.kept_part(key, keep, v),
        keep_rows=True,
    )
    assert part.fit_rows is not None and part.held_out_rows is not None
    start, found = with_bias(layer, bare.tensors), with_bias(layer, refit.model.tensors)
    ridge = next(fit.ridge for fit in refit.layers if fit.node == "transposed depthwise")
    better = 0
    for g in range(9):
        x, t = (v.astype(np.float64) for v in (part.fit_rows.x[g], part.fit_rows.t[g]))
        pull = np.sqrt(ridge * (x[:, :-1] ** 2).sum() / 4) * np.eye(4, 5)
        wanted = np.linalg.lstsq(np.vstack([x, pull]), np.vstack([t, pull @ start[g]]), rcond=None)[0]
        x, t = (v.astype(np.float64) for v in (part.held_out_rows.x[g], part.held_out_rows.t[g]))
        before, after = ((x @ start[g] - t) ** 2).mean(), ((x @ wanted - t) ** 2).mean()
        gain = before - after
        if abs(gain) > 1e-3 * before:  # else rounding decides
            better += gain > 0
            np.testing.assert_allclose(found[g], wanted if gain > 0 else start[g], rtol=2e-3, atol=2e-3)
    assert better >= 4


def test_what_was_never_traced_is_left_alone() -> None:
    """Behind an operator of unknown output, a grouped convolution has no axes; the layers before it are refitted."""
    net = Net(seed=2)
    h = net.relu(net.conv(net.input(2, 6, 6, name="x"), 12, 3, pads=[1, 1, 1, 1], name="wide"))
    h = net.relu(net.conv(h, 4, name="narrow"))
    hidden = net.hint(net.op("Trilu", h, domain="com.microsoft"), 4, 6, 6)
    net.output(net.conv(hidden, 4, 3, group=4, name="untraced"), rank=4)
    net.hints.clear()
    trace = trace_model(load(net.model()))
    grouped = trace.graph.nodes[-1]
    assert grouped.label == "untraced" and not trace.axes(grouped.outputs[0])
    keep = some(trace)
    assert not keep.all()
    refit = least_squares(trace, keep, cut(trace, keep), feeds(), 2)
    assert [fit.node for fit in refit.layers] == ["narrow"] and not refit.skipped
