"""Reconstruction: a damaged network gets better on samples that it has not seen, or stays as it is, with a reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.capture.training import Weights, observer
from onnxprune.cut import cut
from onnxprune.model.load import Model, load
from onnxprune.proof.compare_files import compare_with_expected
from onnxprune.repair.descent import FASTEST, SLOWEST, USUAL, pace
from onnxprune.repair.minibatches import Feeds
from onnxprune.repair.reconstruct import _Judge, _Judged, _shortened, reconstruct
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
Made = Callable[[], tuple[Trace, list[Feeds]]]


def batches(name: str, *shape: int, count: int = 50, size: int = 10, seed: int = 0) -> list[Feeds]:
    rng = np.random.default_rng(seed)
    return [{name: rng.standard_normal((size, *shape)).astype(np.float32)} for _ in range(count // size)]


def picture() -> tuple[Trace, list[Feeds]]:
    """Two convolutions with normalisation and a shortcut, a transposed one, a classifier."""
    net = Net()
    x = net.input(2, 6, 6)
    a = net.relu(net.bn(net.conv(x, 8, 3, pads=[1, 1, 1, 1])))
    b = net.relu(net.add(net.conv(a, 8, 3, pads=[1, 1, 1, 1]), a))
    c = net.relu(net.transposed(b, 6))
    net.output(net.softmax(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", c)), 4)))
    return trace_model(load(net.model())), batches(x, 2, 6, 6)


def sequence() -> tuple[Trace, list[Feeds]]:
    """Matrix products and layer normalisation."""
    net = Net()
    x = net.input(5, 6)
    a = net.op("LayerNormalization", net.dense(x, 12), net.positive(12), net.normal(12))
    net.output(net.dense(net.relu(a), 4))
    return trace_model(load(net.model())), batches(x, 5, 6)


def everything(trace: Trace) -> NDArray[np.bool_]:
    return np.ones(trace.unit_count, bool)


def some(trace: Trace, share: float = 0.3) -> NDArray[np.bool_]:
    keep = everything(trace)
    for group in trace.prunable:
        keep[group.units[: int(share * group.size)]] = False
    return keep


def damaged(model: Model, scale: float = 0.2, seed: int = 0) -> Model:
    """Every weight with some noise."""
    rng = np.random.default_rng(seed)
    tensors = dict(model.tensors)
    for name, tensor in model.tensors.items():
        if tensor.dtype == TensorProto.FLOAT and len(tensor.shape) > 1:
            array = tensor.array()
            noise = scale * array.std() * rng.standard_normal(array.shape)
            tensors[name] = tensor.with_array((array + noise).astype(np.float32))
    return model.replace(model.proto, tensors)


def content(model: Model) -> bytes:
    return bytes(model.complete_proto().SerializeToString())


def distance(trace: Trace, model: Model, feeds: Feeds) -> float:
    """Squared distance of the graph outputs from those of the original."""
    keys = [o.name for o in model.proto.graph.output]
    pairs = zip(observer(trace.graph.model, keys).run(None, feeds), observer(model, keys).run(None, feeds), strict=True)
    return float(sum(((a - b) ** 2).sum() for a, b in pairs))


@pytest.mark.parametrize("make", [picture, sequence])
@pytest.mark.parametrize("which", [everything, some], ids=["damaged", "cut"])
def test_a_damaged_network_gets_better(make: Made, which: Callable[[Trace], NDArray[np.bool_]]) -> None:
    trace, feeds = make()
    keep = which(trace)
    bare = cut(trace, keep)
    broken = damaged(bare) if keep.all() else bare
    found = reconstruct(trace, keep, broken, feeds, 1)
    assert found.reason is None and found.steps > 0
    last = trace.graph.model.proto.graph.node[-1].input
    assert set(found.frozen) <= set(last), "what is added to the last product is right already"
    assert 0 < found.after < 0.5 * found.before
    fresh = batches(next(iter(feeds[0])), *next(iter(feeds[0].values())).shape[1:], seed=1)[0]
    for unseen in (feeds[-1], fresh):
        assert distance(trace, found.model, unseen) < 0.7 * distance(trace, broken, unseen)
    assert compare_with_expected(bare, found.model), "only what repair may change has changed"


def test_same_bytes_twice_and_the_given_model_is_not_touched() -> None:
    trace, feeds = picture()
    broken = damaged(trace.graph.model)
    before, given = content(broken), [{k: v.tobytes() for k, v in f.items()} for f in feeds]
    results = [reconstruct(trace, everything(trace), broken, feeds, 1, seed=seed) for seed in (0, 0, 1)]
    files = [content(found.model) for found in results]
    assert files[0] == files[1] != files[2], "the seed says in which order samples come"
    assert content(broken) == before != files[0]
    assert [{k: v.tobytes() for k, v in f.items()} for f in feeds] == given


def test_progress_counts_steps() -> None:
    trace, feeds = sequence()
    told: list[tuple[int, int]] = []
    found = reconstruct(
        trace, everything(trace), damaged(trace.graph.model), feeds, 1, progress=lambda *s: told.append(s)
    )
    assert told == [(k + 1, found.steps) for k in range(found.steps)]


def test_the_budget_bounds_the_steps() -> None:
    trace, feeds = sequence()
    broken = damaged(trace.graph.model)
    # one row costs 5 x (6 x 12 + 12 x 4) multiply-accumulates: once for the original, three times for a training step
    row = 4 * 5 * (6 * 12 + 12 * 4)
    steps = [reconstruct(trace, everything(trace), broken, feeds, 1, budget=4 * row * n).steps for n in (60, 100)]
    assert steps == [60, 100]
    little = reconstruct(trace, everything(trace), broken, feeds, 1, budget=4 * row * 3)
    assert little.model is broken and little.steps == 0
    assert little.reason is not None and "multiply-accumulates" in little.reason


def test_small_models_get_the_budget_and_large_ones_enough_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of 4 samples; by default as many as BUDGET pays for, up to MOST for ENOUGH samples, at most MOST_EPOCHS."""
    trace, feeds = sequence()
    broken, row = damaged(trace.graph.model), 4 * 5 * (6 * 12 + 12 * 4)

    def steps(budget: int, most: int, enough: int, epochs: int = 100) -> int:
        for name, value in {"BUDGET": budget, "MOST": most, "ENOUGH": enough, "MOST_EPOCHS": epochs}.items():
            monkeypatch.setattr(f"onnxprune.repair.lessons.{name}", value)
        return reconstruct(trace, everything(trace), broken, feeds, 1).steps

    assert steps(4 * row * 50, 4 * row * 90, enough=160) == 50, "40 steps are enough, the budget pays for more"
    assert steps(4 * row * 50, 4 * row * 90, enough=320) == 80, "80 steps are enough"
    assert steps(4 * row * 50, 4 * row * 90, enough=400) == 90, "100 steps would be too dear"
    assert steps(4 * row * 50, 4 * row * 90, enough=400, epochs=6) == 60
    monkeypatch.setattr("onnxprune.repair.lessons.MOST_STEPS", 45)
    assert steps(4 * row * 50, 4 * row * 90, enough=400) == 45


class Valley:
    """Judges a weight by its distance from 4; `seen` are the weights that it was asked about."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def of(self, weights: Weights) -> _Judged:
        self.seen.append(float(weights["w"]))
        return _Judged(cast(Model, None), 0.0, abs(self.seen[-1] - 4.0))


@pytest.mark.parametrize(
    ("end", "best", "seen"),
    [(4.0, 4.0, [4.0, 3.0]), (8.0, 4.0, [8.0, 6.0, 4.0, 2.0]), (40.0, 10.0, [40.0, 30.0, 20.0, 10.0])],
    ids=["the end", "halfway", "only a quarter"],
)
def test_of_the_way_that_training_took_what_serves_held_out_samples_is_kept(
    end: float, best: float, seen: list[float]
) -> None:
    judge = Valley()
    found = _shortened(cast(_Judge, judge), {"w": np.float32(0)}, {"w": np.float32(end)})  # type: ignore[dict-item]
    assert found.outputs == abs(best - 4.0) and judge.seen == seen


def test_too_few_samples_are_refused() -> None:
    trace, feeds = picture()
    broken = damaged(trace.graph.model)
    few = [{name: array[:3] for name, array in batch.items()} for batch in feeds[:3]]
    found = reconstruct(trace, everything(trace), broken, few, 1)
    assert found.model is broken and found.steps == 0 and found.reason is not None and "too few" in found.reason


def test_without_layers_there_is_nothing_to_train() -> None:
    net = Net()
    x = net.input(6)
    net.output(net.relu(x))
    model = load(net.model())
    trace = trace_model(model)
    found = reconstruct(trace, everything(trace), model, batches(x, 6), 1)
    assert found.model is model and found.reason == "nothing to train"


def test_a_network_without_fault_stays_as_it_is() -> None:
    """Nothing can be gained, so whatever training does is refused."""
    trace, feeds = picture()
    found = reconstruct(trace, everything(trace), trace.graph.model, feeds, 1)
    assert found.model is trace.graph.model and found.steps == 0
    assert found.reason is not None and "held-out" in found.reason and found.before == found.after < 1e-6


def test_what_does_not_help_held_out_samples_is_not_kept() -> None:
    """Samples that are fitted reach one half of the network, those that judge the other: training teaches nothing."""
    net = Net()
    x = net.input(8, 1, 1)
    net.output(net.conv(net.relu(net.conv(x, 8, group=2, bias=False)), 4, group=2, bias=False))
    trace = trace_model(load(net.model()))
    feeds = batches(x, 8, 1, 1)
    for number, batch in enumerate(feeds):
        batch[x][:, slice(0, 4) if number == len(feeds) - 1 else slice(4, 8)] = 0
    broken = damaged(trace.graph.model)
    found = reconstruct(trace, everything(trace), broken, feeds, 1)
    assert found.model is broken and found.steps == 0 and found.reason is not None and "held-out" in found.reason
    assert distance(trace, broken, feeds[0]) > 0, "though the fitted samples could have become better"


@pytest.mark.parametrize("seed", range(4))
def test_no_result_is_worse(seed: int) -> None:
    """Held-out samples unlike those that are fitted: whatever comes of it, it is not worse."""
    trace, feeds = picture()
    unlike = [*feeds[:-1], {name: 5 * np.abs(array) for name, array in feeds[-1].items()}]
    found = reconstruct(trace, everything(trace), damaged(trace.graph.model, 0.02, seed), unlike, 1, seed=seed)
    assert found.after <= found.before


def test_steps_are_longer_where_there_is_more_evidence() -> None:
    paces = [pace(evidence) for evidence in (0.0, 1.0, 10.0, USUAL, 500.0, 1e5, float("inf"))]
    assert paces == sorted(paces) and paces[0] == SLOWEST and paces[3] == 1.0 and paces[-1] == FASTEST
    assert pace(USUAL * 4) == pytest.approx(2.0) and pace(None) == 1.0
