"""Masks for whole networks: what is chosen, what stays dense and why, and that zeros survive every repair."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from onnxprune.capture.samples import Samples, open_samples
from onnxprune.cut import cut
from onnxprune.errors import ModelError, UsageError
from onnxprune.model.load import Model, load
from onnxprune.sparse import parse_pattern, rewrite
from onnxprune.sparsifying.masks import METHODS, Masked, MaskRequest, candidates, masked
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
OBS = MaskRequest(0.6, method="obs", repair="least-squares")


def picture(weights: str = "initializer") -> Trace:
    """Convolutions: plain, with a shortcut, grouped, depthwise; a classifier."""
    net = Net(weights=weights)
    x = net.input(3, 8, 8, name="x")
    a = net.relu(net.conv(x, 8, 3, pads=[1, 1, 1, 1], name="a"))
    b = net.relu(net.add(net.conv(a, 8, 3, pads=[1, 1, 1, 1], name="b"), a))
    c = net.relu(net.conv(b, 12, 1, group=2, name="grouped"))
    d = net.relu(net.conv(c, 12, 3, group=12, pads=[1, 1, 1, 1], name="depthwise"))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", d)), 5, name="last"))
    return trace_model(load(net.model()))


def sequence() -> Trace:
    """Matrix products, one of them shared by two layers."""
    net = Net()
    x = net.input(5, 9, name="x")
    a = net.relu(net.dense(x, 16, name="a"))
    shared = net.constant(net.normal(16, 16))
    b = net.relu(net.op("MatMul", a, shared, name="b"))
    c = net.relu(net.op("MatMul", b, shared, name="c"))
    net.output(net.dense(c, 6, name="last"))
    return trace_model(load(net.model()))


def samples(trace: Trace, count: int = 60) -> Samples:
    shape = trace.facts.inputs["x"][1:]
    return open_samples({"x": inputs(count, *shape)}, trace)


def inputs(count: int, *shape: int, seed: int = 0) -> Array:
    """Noise around means that differ from sample to sample, so that outputs differ, too."""
    rng = np.random.default_rng(seed)
    means = rng.standard_normal((count, shape[0], *[1] * (len(shape) - 1)))
    return np.asarray(rng.standard_normal((count, *shape)) + means, np.float32)


def content(model: Model) -> bytes:
    return bytes(model.complete_proto().SerializeToString())


def run(model: Model, x: Array) -> Array:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    found = onnxruntime.InferenceSession(content(model), options, providers=["CPUExecutionProvider"]).run(
        None, {"x": x}
    )
    return np.asarray(found[0])


def zeros_hold(found: Masked) -> bool:
    """Whether every mask is of the shape of its weight, and what it removes is zero."""
    return all(
        found.model.tensors[name].shape == mask.keep.shape and not found.model.tensors[name].array()[~mask.keep].any()
        for name, mask in found.masks.items()
    )


def test_what_can_have_a_mask_and_why_the_others_cannot() -> None:
    found = {layer.node: layer.reason for layer in candidates(picture().graph.model)}
    assert found == {"a": None, "b": None, "grouped": None, "depthwise": "it is depthwise", "last": None}
    found = {layer.node: layer.reason for layer in candidates(sequence().graph.model)}
    reason = "its weight is read by another node, too"
    assert [found[name] for name in ("b", "c")] == [reason, reason]
    assert sum(reason is None for reason in found.values()) == 2


@pytest.mark.parametrize("scope", ["local", "global"])
@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "1x4", "2:4"])
def test_by_magnitude_without_data(scope: str, pattern: str) -> None:
    trace = picture()
    share = parse_pattern(pattern).share or 0.7
    found = masked(trace, MaskRequest(share, parse_pattern(pattern), scope=scope), None)
    assert zeros_hold(found) and abs(found.sparsity - share) < 0.06
    for layer in found.layers:
        if layer.reason is None:
            kept = found.masks[layer.weight].keep
            assert layer.kept == kept.sum() and layer.error is None is layer.error_masked
            if scope == "local":
                assert abs(layer.sparsity - share) <= 8 / layer.size + 0.13
            old = trace.graph.model.tensors[layer.weight].array()
            assert np.array_equal(found.model.tensors[layer.weight].array(), np.where(kept, old, 0))
    if scope == "global" and pattern == "unstructured":
        assert len({round(layer.sparsity, 2) for layer in found.layers if layer.reason is None}) > 1
        assert abs(found.sparsity - share) < 0.002
    changed = set(found.masks)
    same = {name: tensor for name, tensor in trace.graph.model.tensors.items() if name not in changed}
    assert all(np.array_equal(found.model.tensors[name].array(), tensor.array()) for name, tensor in same.items())


@pytest.mark.parametrize("method", list(METHODS))
@pytest.mark.parametrize("repair", ["none", "least-squares", "reconstruct"])
def test_zeros_survive_and_repair_helps(method: str, repair: str) -> None:
    trace = picture()
    data = samples(trace)
    found = masked(trace, MaskRequest(0.6, method=method, repair=repair), data, threads=1)
    assert zeros_hold(found) and abs(found.sparsity - 0.6) < 0.02
    layers = [layer for layer in found.layers if layer.reason is None]
    if repair == "none":
        old = trace.graph.model.tensors
        for name, mask in found.masks.items():
            assert np.array_equal(found.model.tensors[name].array(), np.where(mask.keep, old[name].array(), 0))
        assert found.reconstruction is None
    else:
        assert layers[0].error is not None and layers[0].error_masked is not None
        assert 0 < layers[0].error < layers[0].error_masked
        last = [masked(trace, MaskRequest(0.6, method=method), data, threads=1), found]
        x = inputs(64, 3, 8, 8, seed=1)
        errors = [np.square(run(one.model, x) - run(trace.graph.model, x)).mean() for one in last]
        assert errors[1] < 0.6 * errors[0], "on samples that nothing was fitted to"
    assert (found.reconstruction is not None) == (repair == "reconstruct")
    if found.reconstruction is not None:
        assert found.reconstruction.steps > 0 and found.reconstruction.error_after < found.reconstruction.error_before


def test_errors_are_those_of_the_held_out_samples() -> None:
    trace = picture()
    data = samples(trace)
    found = masked(trace, replace(OBS, repair="none"), data, threads=1)
    judged = np.concatenate([batch["x"] for batch in data.batches[-data.held_out :]])
    wanted, got = run(trace.graph.model, judged), run(found.model, judged)
    last = next(layer for layer in found.layers if layer.node == "last")
    assert last.error == pytest.approx(float(np.square(got - wanted).mean() / wanted.var()), rel=1e-3)


@pytest.mark.parametrize("weights", ["initializer", "constant", "identity"])
def test_twice_the_same_and_wherever_weights_are(weights: str) -> None:
    trace = picture(weights)
    request = replace(OBS, repair="reconstruct", scope="global", pattern=parse_pattern("2x1"))
    before = content(trace.graph.model)
    first, second = (masked(trace, request, samples(trace), threads=threads) for threads in (1, 2))
    assert content(first.model) == content(second.model) and content(trace.graph.model) == before
    assert zeros_hold(first) and len(first.masks) == 4 and abs(first.sparsity - 0.6) < 0.02
    done = rewrite(first.model, first.masks)
    assert len(done.operators) == 4, "sparse operators can take their places"


def test_patterns_of_single_layers_and_layers_that_stay_dense() -> None:
    trace = picture()
    names = {layer.node: layer.weight for layer in candidates(trace.graph.model)}
    request = replace(
        OBS,
        patterns={names["b"]: parse_pattern("2:4")},
        dense={names["last"]: "it is not faster"},
        pattern=parse_pattern("4x1"),
    )
    found = {layer.node: layer for layer in masked(trace, request, samples(trace), threads=1).layers}
    assert found["last"].reason == "it is not faster" and found["last"].kept == found["last"].size
    assert str(found["b"].pattern) == "2:4" and found["b"].sparsity == 0.5
    assert str(found["a"].pattern) == "4x1" and str(found["grouped"].pattern) == "unstructured", "groups have 6 outputs"
    with pytest.raises(UsageError, match="no layer has the weight"):
        masked(trace, replace(OBS, dense={"nothing": "?"}), samples(trace))


@pytest.mark.parametrize("method", list(METHODS))
def test_locked_zeros_stay(method: str) -> None:
    trace = picture()
    first = masked(trace, MaskRequest(0.5), None)
    again = trace_model(first.model)
    found = masked(again, replace(OBS, method=method, locked=True, repair="reconstruct"), samples(again), threads=1)
    assert zeros_hold(found) and abs(found.sparsity - 0.6) < 0.02
    assert all(not (found.masks[name].keep & ~mask.keep).any() for name, mask in first.masks.items())
    same = masked(again, MaskRequest(0.2, locked=True), None)
    assert content(same.model) == content(first.model), "less than what has left asks for nothing"
    free = masked(again, MaskRequest(0.2), None)
    assert free.sparsity == pytest.approx(0.2, abs=0.01) and same.sparsity == first.sparsity, (
        "what is not locked may come back"
    )


@pytest.mark.parametrize("pattern", ["unstructured", "4x1", "2:4"])
def test_in_steps(pattern: str) -> None:
    trace = picture()
    form = parse_pattern(pattern)
    request = replace(OBS, sparsity=form.share or 0.6, pattern=form, schedule="cube", steps=3, repair="reconstruct")
    calls: list[tuple[int, int]] = []
    found = masked(trace, request, samples(trace), threads=1, progress=lambda *call: calls.append(call))
    assert zeros_hold(found) and abs(found.sparsity - request.sparsity) < 0.05
    one = masked(trace, replace(request, schedule="one-shot", steps=1), samples(trace), threads=1)
    assert content(one.model) != content(found.model) and abs(one.sparsity - found.sparsity) < 0.02
    assert (4, 12) in calls and (12, 12) in calls, "layers of all steps are counted"


def test_layers_without_a_mask_follow_their_inputs() -> None:
    trace = picture()
    found = masked(trace, OBS, samples(trace), threads=1)
    name = next(layer.weight for layer in found.layers if layer.node == "depthwise")
    old = trace.graph.model.tensors[name].array()
    assert not np.array_equal(found.model.tensors[name].array(), old)
    bare = masked(trace, replace(OBS, repair="none"), samples(trace), threads=1)
    assert np.array_equal(bare.model.tensors[name].array(), old)


def test_global_takes_from_where_it_costs_least() -> None:
    trace = picture()
    x = inputs(64, 3, 8, 8, seed=1)
    wanted, errors = run(trace.graph.model, x), {}
    for scope in ("local", "global"):
        found = masked(trace, replace(OBS, scope=scope, sparsity=0.7), samples(trace), threads=1)
        assert abs(found.sparsity - 0.7) < 0.01
        errors[scope] = np.square(run(found.model, x) - wanted).mean()
    assert errors["global"] < errors["local"]


def test_a_network_that_was_cut_aims_at_the_original() -> None:
    trace = picture()
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        blocks = np.zeros(group.size, np.int64) if group.blocks is None else group.blocks
        keep[group.units[np.unique(blocks, return_index=True)[1]]] = False  # the first of every block
    smaller = trace_model(cut(trace, keep))
    found = masked(smaller, replace(OBS, repair="reconstruct"), samples(smaller), whole=(trace, keep), threads=1)
    blind = masked(smaller, replace(OBS, repair="reconstruct"), samples(smaller), threads=1)
    x = inputs(64, 3, 8, 8, seed=1)
    errors = [np.square(run(one.model, x) - run(trace.graph.model, x)).mean() for one in (found, blind)]
    assert zeros_hold(found) and errors[0] < errors[1]


def test_matrix_products_without_a_bias() -> None:
    trace = sequence()
    found = masked(trace, replace(OBS, pattern=parse_pattern("4x1")), samples(trace), threads=1)
    assert zeros_hold(found) and len(found.masks) == 2
    assert [node.op_type for node in found.model.proto.graph.node] == [n.op_type for n in trace.graph.nodes]


def test_a_network_that_overflows_is_named() -> None:
    net = Net()
    x = net.input(3, 8, 8, name="x")
    net.output(net.op("Conv", net.conv(x, 4, 1, name="a"), net.normal(4, 4, 1, 1, scale=1e38), name="b"))
    trace = trace_model(load(net.model()))
    with pytest.raises(ModelError, match="inputs or outputs of 'b' hold NaN or infinity"):
        masked(trace, OBS, samples(trace), threads=1)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"method": "obs"}, "judges weights by calibration data"),
        ({"repair": "least-squares"}, "needs calibration data"),
        ({"method": "abs"}, "unknown mask method"),
        ({"scope": "all"}, "scope= is local or global"),
        ({"repair": "adam"}, "repair= is none, least-squares or reconstruct"),
        ({"sparsity": 1.0}, "sparsity= is a share"),
        ({"sparsity": float("nan")}, "sparsity= is a share"),
        ({"sparsity": 0.6, "pattern": parse_pattern("2:4")}, "removes 50.0%"),
        ({"steps": 2}, "no schedule"),
    ],
)
def test_what_contradicts_itself_is_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        masked(picture(), replace(MaskRequest(0.5), **wrong), None)
