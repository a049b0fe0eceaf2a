"""Scale and shift against the mean and the deviation that they are to bring back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.features import residual_partner
from onnxprune.capture.training import observer
from onnxprune.cut import cut
from onnxprune.model.graph import build
from onnxprune.model.load import Model, load
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.repair.scale_shift import Spread, affine_of, scale_shift
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
Feeds = dict[str, Array]


def scaled(model: Model) -> Model:
    """Every channel of every weight by another factor, so that means and deviations are wrong."""
    rng = np.random.default_rng(5)
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if tensor.dtype == TensorProto.FLOAT and len(tensor.shape) > 1:
            array = tensor.array()
            factor = rng.uniform(0.5, 2, (len(array), *[1] * (array.ndim - 1)))
            tensors[name] = tensor.with_array((array * factor).astype(np.float32))
    return model.replace(model.proto, tensors)


def picture(batch: int = 10, count: int = 6) -> tuple[Trace, list[Feeds]]:
    """A normalisation, a shortcut, depthwise, transposed and transposed of groups, a classifier."""
    net = Net(seed=2)
    x = net.input(2, 6, 6, name="x")
    a = net.relu(net.bn(net.conv(x, 8, 3, pads=[1, 1, 1, 1])))
    b = net.relu(net.add(net.conv(a, 8, 3, pads=[1, 1, 1, 1]), a))
    c = net.relu(net.bn(net.conv(b, 8, 3, group=8, bias=False)))
    d = net.relu(net.transposed(net.relu(net.transposed(c, 6)), 6, group=2))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", d)), 4))
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((batch, 2, 6, 6)).astype(np.float32)} for _ in range(count)]
    return trace_model(load(net.model())), feeds


def sequence() -> tuple[Trace, list[Feeds]]:
    """Matrix products, with an added constant and without."""
    net = Net(seed=2)
    x = net.input(5, 6, name="x")
    h = net.relu(net.dense(x, 12))
    net.output(net.matmul(net.relu(net.dense(h, 12)), 4))
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((10, 5, 6)).astype(np.float32)} for _ in range(6)]
    return trace_model(load(net.model())), feeds


def some(trace: Trace) -> NDArray[np.bool_]:
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        blocks = np.zeros(group.size, np.int64) if group.blocks is None else group.blocks
        for block in np.unique(blocks):
            units = group.units[blocks == block]
            keep[units[: max(len(units) // 3, 1)]] = False
    return keep


def test_two_numbers_bring_mean_and_deviation_back() -> None:
    rng = np.random.default_rng(0)
    ys = [rng.standard_normal((7, 3, 5)) * 3 + 1 for _ in range(4)]
    ts = [rng.standard_normal((7, 3, 5)) * np.array([[[2.0], [0.5], [1.0]]]) - 2 for _ in range(4)]
    ys[0][:, 2] = ys[1][:, 2] = ys[2][:, 2] = ys[3][:, 2] = 4.0  # a constant channel
    spread = Spread.of(ys, ts, 1)
    y, t = (np.concatenate([p.swapaxes(1, 2).reshape(-1, 3) for p in parts]) for parts in (ys, ts))
    np.testing.assert_allclose(spread.y_mean, y.mean(axis=0))
    np.testing.assert_allclose(spread.t_dev, t.std(axis=0))
    scale, shift = spread.fitted(0.0, True)
    np.testing.assert_allclose((scale * y + shift).mean(axis=0), t.mean(axis=0))
    np.testing.assert_allclose((scale * y + shift).std(axis=0)[:2], t.std(axis=0)[:2])
    assert scale[2] == 1, "a constant channel is only shifted"
    np.testing.assert_allclose(spread.errors(scale, shift)[:2], 0, atol=1e-20)
    half = spread.fitted(1.0, True)[0]
    np.testing.assert_allclose(half[:2], (1 + scale[:2]) / 2, err_msg="a ridge of 1 goes half of the way")
    scale, shift = spread.fitted(0.0, False)
    assert not shift.any()
    np.testing.assert_allclose(((scale * y) ** 2).mean(axis=0)[:2], (t**2).mean(axis=0)[:2])
    wrong = np.ones(3), np.zeros(3)
    gap = (y.mean(axis=0) - t.mean(axis=0)) ** 2 + (y.std(axis=0) - t.std(axis=0)) ** 2
    np.testing.assert_allclose(spread.errors(*wrong), gap)


@pytest.mark.parametrize("make", [picture, sequence])
@pytest.mark.parametrize("damage", [False, True], ids=["cut", "scaled"])
def test_layers_get_their_means_and_deviations_back(
    make: Callable[[], tuple[Trace, list[Feeds]]], damage: bool
) -> None:
    """What is inside the repaired network, as ONNX Runtime computes it from the file."""
    trace, feeds = make()
    keep = some(trace)
    bare = cut(trace, keep)
    broken = scaled(bare) if damage else bare
    refit = scale_shift(trace, keep, broken, feeds, 2)
    assert not refit.skipped and len(refit.layers) >= 2
    assert all(fit.after <= fit.before for fit in refit.layers) and any(fit.ridge for fit in refit.layers)
    assert compare_with_expected(broken, refit.model), "only what repair may change has changed"
    keys = [key for fit in refit.layers if (key := _judged(bare, fit.node)) is not None]
    whole = {"x": np.concatenate([f["x"] for f in feeds])}
    wanted = [
        trace.kept_part(k, keep, v)
        for k, v in zip(keys, observer(trace.graph.model, keys).run(None, whole), strict=True)
    ]
    before, after = (observer(m, keys).run(None, whole) for m in (broken, refit.model))
    gaps = [sum(_gap(a, t) for a, t in zip(found, wanted, strict=True)) for found in (before, after)]
    assert gaps[1] < 0.3 * gaps[0]


def _judged(model: Model, name: str) -> str | None:
    """What gets its mean and deviation back: behind a normalisation, an added constant or a shortcut. None without
    a bias, where one number cannot do both."""
    graph = build(model)
    affine = affine_of(graph, next(n for n in graph.nodes if n.label == name))
    assert affine is not None
    if affine.shift is None:
        return None
    partner = residual_partner(graph, affine.y)
    return affine.y if partner is None else partner[0]


def _gap(value: Array, goal: Array) -> float:
    axes = tuple(a for a in range(value.ndim) if a != (1 if value.ndim == 4 else value.ndim - 1))
    mean, dev = value.mean(axis=axes) - goal.mean(axis=axes), value.std(axis=axes) - goal.std(axis=axes)
    return float((mean**2 + dev**2).sum() / goal.var(axis=axes).sum())


def test_nothing_changes_where_nothing_is_wrong() -> None:
    trace, feeds = picture()
    keep = np.ones(trace.unit_count, bool)
    refit = scale_shift(trace, keep, trace.graph.model, feeds, 2)
    assert not refit.layers
    same = refit.model.complete_proto().SerializeToString()
    assert same == trace.graph.model.complete_proto().SerializeToString()


def test_channels_that_get_worse_on_held_out_samples_stay() -> None:
    """Fitted samples lie about the held-out ones: nothing may be learned from them."""
    trace, feeds = sequence()
    keep = some(trace)
    lies = [{"x": f["x"] * 50 + 300} for f in feeds[:4]]
    refit = scale_shift(trace, keep, cut(trace, keep), [*lies, *feeds[4:]], 2)
    assert all(fit.after <= fit.before for fit in refit.layers)


def test_a_shared_weight_is_not_touched() -> None:
    net = Net(seed=2)
    h = net.relu(net.conv(net.input(2, 6, 6, name="x"), 6))
    weight = net.constant(net.normal(6, 6, 1, 1))
    first = net.op("Conv", h, weight, name="first")
    net.output(net.conv(net.relu(net.op("Conv", net.relu(first), weight, name="second")), 3))
    trace = trace_model(load(net.model()))
    feeds = picture()[1]
    keep = some(trace)
    refit = scale_shift(trace, keep, cut(trace, keep), feeds, 2)
    assert set(refit.skipped) == {"first", "second"}
