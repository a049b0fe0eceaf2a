"""Recurrent layers as readers: what they make of their input in every step is a product, and is fitted as one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import onnxprune
from onnxprune.capture.features import linear_layer
from onnxprune.capture.walker import Walker
from onnxprune.choose.curves import by_criterion, judged_curves, readers_of
from onnxprune.cut import cut
from onnxprune.model.load import load
from onnxprune.repair.least_squares import least_squares
from onnxprune.shrinking.repairs import _why
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def recurrent(
    net: Net, x: str, width: int, hidden: int, op_type: str, directions: int = 1, *, last: bool = False
) -> str:
    """(T, N, width) to (T, N, hidden) of the first direction, or to the last step."""
    gates = GATES[op_type] * hidden
    weights = [net.normal(directions, gates, width, scale=0.4), net.normal(directions, gates, hidden, scale=0.2)]
    way = "bidirectional" if directions == 2 else "forward"
    inputs = [x, *weights, net.normal(directions, 2 * gates, scale=0.1)]
    y, state = net.many(op_type, 2, *inputs, name=f"{op_type}{width}", hidden_size=hidden, direction=way)
    if last:
        net.nodes[-1].output[0] = ""
        return net.op("Gather", net.hint(state, hidden), np.array(0), axis=0)
    return net.op("Gather", y, np.array(0), axis=1)


def lines(op_type: str, directions: int, *, last: bool = False) -> Trace:
    """Columns of images, one after the other, as recognisers of text read them."""
    net = Net(17, seed=2)
    h = net.relu(net.conv(net.input(3, 1, 9, name="x"), 16, 1, name="columns"))
    h = net.transpose(net.squeeze(h, 2), 2, 0, 1)  # (9, N, 16)
    h = recurrent(net, h, 16, 12, op_type, directions, last=last)
    weight = net.normal(12, 4)
    net.output(net.op("MatMul", h, weight, name="z"), rank=2 if last else 3)
    return trace_model(load(net.model()))


def feeds(count: int = 60) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((3, 3))
    return [
        {"x": np.einsum("ij,njkl->nikl", mixed, rng.standard_normal((20, 3, 1, 9))).astype(np.float32)}
        for _ in range(count // 20)
    ]


@pytest.mark.parametrize(("op_type", "directions"), [("LSTM", 1), ("LSTM", 2), ("GRU", 1), ("RNN", 2)])
def test_what_a_recurrent_layer_reads_is_chosen_and_made_up_for(op_type: str, directions: int) -> None:
    trace = lines(op_type, directions)
    group = next(g for g in trace.prunable if g.name == "columns")
    (found,) = readers_of(trace, [group])
    assert [trace.graph.nodes[layer.node].op_type for layer in found] == [op_type]
    (curve,) = judged_curves(trace, [group], by_criterion([group], "obs"), feeds())
    assert curve is not None and 0 < curve.removal.errors[8] < curve.removal.errors[14]
    keep = np.ones(trace.unit_count, bool)
    keep[group.units[curve.removal.order[:8]]] = False
    refit = least_squares(trace, keep, cut(trace, keep), feeds(), 1)
    assert not refit.skipped and [fit.node for fit in refit.layers] == [f"{op_type}16"]
    assert refit.layers[0].after < 0.5 * refit.layers[0].before


def test_the_product_is_that_of_numpy() -> None:
    """The refitted weight is the ridge solution of X' W' = X W over all steps, in all gates of both directions."""
    trace = lines("LSTM", 2)
    group = next(g for g in trace.prunable if g.name == "columns")
    keep = np.ones(trace.unit_count, bool)
    keep[group.units[:6]] = False
    refit = least_squares(trace, keep, cut(trace, keep), feeds(), 1)
    node = next(n for n in trace.graph.nodes if n.op_type == "LSTM")
    walker = Walker(trace.graph.model, feeds()[:2], trace.facts.dtypes)
    walker.reach([node.inputs[0]])
    x = np.concatenate([value.reshape(-1, 16) for value in walker.values(node.inputs[0])]).astype(np.float64)
    whole = walker.tensors[node.inputs[1]].array().astype(np.float64)
    best = np.linalg.lstsq(x[:, 6:], x @ whole.reshape(-1, 16).T, rcond=None)[0].T.reshape(2, 48, 10)
    found = refit.model.tensors[node.inputs[1]].array()
    distance = np.linalg.norm(x[:, 6:] @ (found - best).reshape(-1, 10).T)
    assert distance < 0.02 * np.linalg.norm(x @ whole.reshape(-1, 16).T)


def test_input_and_hidden_indices_leave_together() -> None:
    trace = lines("LSTM", 2)
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[::3]] = False
    assert len(trace.prunable) >= 2
    refit = least_squares(trace, keep, cut(trace, keep), feeds(), 1)
    assert not refit.skipped
    assert all(fit.after <= fit.before for fit in refit.layers) and {f.node for f in refit.layers} >= {"LSTM16", "z"}


def test_a_layer_of_which_only_the_last_step_is_read() -> None:
    trace = lines("GRU", 1, last=True)
    keep = np.ones(trace.unit_count, bool)
    keep[next(g for g in trace.prunable if g.name == "columns").units[:8]] = False
    refit = least_squares(trace, keep, cut(trace, keep), feeds(), 1)
    assert [fit.node for fit in refit.layers] == ["GRU16"] and refit.layers[0].after < refit.layers[0].before


def test_the_whole_command(tmp_path: Path) -> None:
    model = lines("LSTM", 1).graph.model
    data = {"x": np.concatenate([feed["x"] for feed in feeds(200)])}
    asked: dict[str, Any] = {"ratio": 0.4, "data": data, "multiple_of": 1}
    bare = onnxprune.shrink(model, tmp_path / "bare.onnx", repair="none", **asked)
    result = onnxprune.shrink(model, tmp_path / "out.onnx", repair="least-squares", **asked)
    assert not [change.reason for change in result.groups if change.name == "columns" and change.reason]
    errors = [float(one.fidelity.outputs[0].relative_error or 0) for one in (result, bare) if one.fidelity]
    assert errors[0] < errors[1]
    assert onnxprune.verify(model, tmp_path / "out.onnx").refitted


def test_elsewhere_a_recurrent_layer_is_no_matrix_product() -> None:
    trace = lines("LSTM", 1)
    node = next(n for n in trace.graph.nodes if n.op_type == "LSTM")
    assert linear_layer(trace.graph, node) is None


def test_layers_that_share_a_weight_say_so() -> None:
    net = Net(17, seed=1)
    h = net.transpose(net.relu(net.matmul(net.input(5, 6, name="x"), 12)), 1, 0, 2)
    weight = net.constant(net.normal(1, 32, 12), "W")
    parts = [net.op("LSTM", h, weight, net.normal(1, 32, 8), hidden_size=8, name=name) for name in ("p", "q")]
    net.output(net.matmul(net.squeeze(net.add(*parts), 1), 4), rank=3)
    data = {"x": np.random.default_rng(0).standard_normal((40, 5, 6)).astype(np.float32)}
    trace = trace_model(load(net.model()))
    keep = np.ones(trace.unit_count, bool)
    keep[trace.prunable[0].units[:4]] = False
    refit = least_squares(trace, keep, cut(trace, keep), [data], 0)
    assert set(refit.skipped) == {"p", "q"}
    assert _why(trace, "p") == "it shares its weight or bias with another layer"
