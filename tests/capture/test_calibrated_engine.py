"""The calibrated stages as functions: walking, the linear view, moments, removal curves, allocation, least squares."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from onnxprune.capture.features import input_rows, linear_layer, output_rows, positions_of
from onnxprune.capture.walker import Walker
from onnxprune.choose.allocate.by_cost import Curve, by_cost
from onnxprune.choose.budget import Counted
from onnxprune.choose.ranking import Options
from onnxprune.choose.select import select
from onnxprune.choose.target import parse_target
from onnxprune.cut import cut
from onnxprune.cut.plan import keep_of, of_masks
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import UsageError
from onnxprune.model.cost import parameters, total
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import Model, load
from onnxprune.repair.least_squares import least_squares
from onnxprune.trace import Trace, trace_model

MODELS = Path(__file__).resolve().parents[2] / "models"
Array = NDArray[Any]


@cache
def digits() -> Trace:
    return trace_model(load(MODELS / "digits.onnx"))


def batches(count: int = 250, size: int = 50) -> list[dict[str, Array]]:
    images = np.load(MODELS / "digits_calib.npz")["image"][:count]
    return [{"image": images[k : k + size]} for k in range(0, count, size)]


def session(model: Model) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model.complete_proto().SerializeToString())


def accuracy(model: Model) -> float:
    test = np.load(MODELS / "digits_test.npz")
    logits = session(model).run(None, {"image": test["image"]})[0]
    return float((logits.argmax(1) == test["label"]).mean())


def test_walking_gives_what_a_whole_run_gives() -> None:
    trace, feeds = digits(), batches(100)
    walker = Walker(trace.graph.model, feeds, trace.facts.dtypes)
    for node in trace.graph.nodes:
        if node.op_type in ("Conv", "Add"):
            walker.reach([node.outputs[0]])
            walker.drop_dead()
    walker.reach(["logits"])
    whole = session(trace.graph.model)
    for feed, found in zip(feeds, walker.values("logits"), strict=True):
        np.testing.assert_allclose(found, whole.run(None, feed)[0], rtol=1e-4, atol=1e-5)


def test_the_linear_view_multiplies_to_the_output() -> None:
    trace, feeds = digits(), batches(50)
    seen = 0
    for node in trace.graph.nodes:
        layer = linear_layer(trace.graph, node)
        if layer is None:
            continue
        seen += 1
        walker = Walker(trace.graph.model, feeds, trace.facts.dtypes)
        walker.reach([layer.x, layer.y])
        x, y = walker.values(layer.x)[0], walker.values(layer.y)[0]
        picked = np.arange(0, positions_of(layer, y), 7)
        rows = layer.stacked(input_rows(layer, x, picked))
        wanted = output_rows(layer, y)[picked]
        if layer.bias is not None:
            wanted = wanted - trace.graph.constants[layer.bias].array()
        product = rows @ layer.matrix(trace.graph.constants[layer.weight].array())
        np.testing.assert_allclose(product, layer.stacked(wanted), rtol=1e-3, atol=1e-4)
    assert seen >= 8


def test_planned_cost_is_the_cost_of_the_cut() -> None:
    trace = digits()
    keep = np.ones(trace.unit_count, bool)
    planned = PlannedCost(trace)
    assert planned.macs(keep) == total(trace.graph, trace.facts)[0]
    for group in trace.prunable:
        keep[group.units[: group.size // 3]] = False
    graph = build(cut(trace, keep))
    assert planned.macs(keep) == total(graph, infer(graph, trace.facts.symbols))[0]
    assert planned.parameters(keep) == parameters(graph)


def test_allocation_meets_the_target_at_the_least_error() -> None:
    steep, flat = np.arange(9.0) ** 2, np.arange(9.0) * 0.1
    curves = [Curve(name, errors, np.arange(8)) for name, errors in (("steep", steep), ("flat", flat))]
    counts = by_cost(curves, lambda k: 16.0 - sum(k), 10.0)
    assert counts is not None and 16 - sum(counts) <= 10 and counts[1] >= 6
    assert by_cost(curves, lambda k: 16.0 - sum(k), 16.0) == [0, 0]
    assert by_cost(curves, lambda k: 16.0 - sum(k), 1.0) is None


def test_calibrated_pruning_keeps_the_accuracy() -> None:
    """At half of the MACs: far better than the bare cut of the same plan, which is far better than nothing."""
    trace, feeds = digits(), batches()
    selection = select(trace, Options(criterion="obs", scope="global"), feeds, Counted(trace, parse_target("macs=50%")))
    keep = keep_of(of_masks(trace, selection.groups, selection.keep), trace)
    bare = cut(trace, keep)
    graph = build(bare)
    assert total(graph, infer(graph, trace.facts.symbols))[0] <= 0.5 * total(trace.graph, trace.facts)[0]
    refit = least_squares(trace, keep, bare, feeds, held_out=1)
    assert all(layer.after <= layer.before for layer in refit.layers) and len(refit.layers) >= 3
    assert accuracy(refit.model) > accuracy(bare) + 0.1
    assert accuracy(refit.model) > 0.9


def test_targets() -> None:
    assert parse_target("macs=50%").limit(200) == 100
    assert parse_target("params=2M").limit(1) == 2_000_000
    for wrong in ("macs", "latency=3", "macs=0%", "macs=150%"):
        with pytest.raises(UsageError):
            parse_target(wrong)


def test_a_target_out_of_reach_says_so() -> None:
    with pytest.raises(UsageError, match="out of reach"):
        budget = Counted(digits(), parse_target("macs=0.01%"))
        select(digits(), Options(criterion="obd-output", scope="global"), batches(100), budget)
