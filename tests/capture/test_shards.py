"""Sums over shards of samples: the same bits whoever computes which shard, and in whichever order they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxprune.capture import elsewhere
from onnxprune.capture.batches import first_samples
from onnxprune.capture.elsewhere import CAPTURED, capture, captured, tried, try_out
from onnxprune.capture.features import Linear
from onnxprune.capture.samples import Samples, open_samples, traced_for
from onnxprune.capture.sensitivity import output_errors
from onnxprune.capture.shards import MOST, borders, summed, whole
from onnxprune.capture.walker import Walker
from onnxprune.choose.curves import by_criterion, judged_curves, readers_of
from onnxprune.model.load import load
from onnxprune.results.clock import Clock
from onnxprune.results.kept.codec import decoded, encoded
from onnxprune.results.kept.memory import Memory
from onnxprune.results.progress import Watch
from onnxprune.trace import Trace
from tests.builders import Net

DIGITS = Path(__file__).resolve().parents[2] / "models" / "digits.onnx"


@cache
def opened(count: int = 500, model: Any = DIGITS, seed: int = 0) -> tuple[Trace, Samples]:
    data = {"image": np.load(DIGITS.with_name("digits_calib.npz"))["image"][:count]}
    traced, given = traced_for(load(model), data)
    return traced, open_samples(given, traced, seed=seed)


class Others:
    """A crew that answers in this process, the last part first; what it is asked and gives has been text between."""

    def __init__(self, trace: Trace, samples: Samples, unable: Sequence[int] = ()) -> None:
        self.trace, self.samples, self.unable = trace, samples, unable
        self.asked: list[tuple[str, int]] = []

    def serves(self, model: object) -> bool:
        return model is self.trace.graph.model

    def each(self, kind: str, parts: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        for number in reversed(range(len(parts))):
            self.asked.append((kind, number))
            if number in self.unable:
                yield number, []
                continue
            answer = capture if kind == CAPTURED else try_out
            found = answer(self.trace, self.samples, decoded(*encoded(parts[number])), 1)
            yield number, [decoded(*encoded(found))]


def layers_of(trace: Trace) -> list[Linear]:
    found = {layer.node: layer for layers in readers_of(trace, trace.prunable) for layer in layers}
    return [found[node] for node in sorted(found)]


def fitted(samples: Samples) -> list[dict[str, Any]]:
    return samples.batches[: -samples.held_out]


def test_where_shards_begin_follows_from_the_batches_alone() -> None:
    for count in range(1, 40):
        edges = borders(count)
        assert len(edges) == min(count, MOST) and edges[0][0] == 0 and edges[-1][1] == count
        assert all(a[1] == b[0] for a, b in pairwise(edges))
        assert max(b - a for a, b in edges) - min(b - a for a, b in edges) <= 1
    assert borders(0) == []


def small_batches(samples: Samples) -> Samples:
    """More batches than there are shards, the last of another size."""
    whole_feed = np.concatenate([feed["image"] for feed in fitted(samples)])
    cut = [{"image": whole_feed[k : k + 18]} for k in range(0, len(whole_feed), 18)]
    held_out = samples.batches[-samples.held_out :]
    return Samples([*cut, *held_out], samples.held_out, len(whole_feed), 100, "", 0)


def test_a_crew_gives_the_bits_of_one_machine() -> None:
    trace, samples = opened()
    samples = small_batches(samples)
    layers, batches = layers_of(trace), fitted(samples)
    assert len(batches) > 2 * MOST and len(batches[-1]["image"]) < 18
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes)
    here = {layer.node: summed(trace.graph, walker, layer) for layer in layers}
    crew = Others(trace, samples)
    there = captured(trace.graph, layers, batches, crew, Watch())
    assert there is not None and crew.asked == [(CAPTURED, number) for number in reversed(range(MOST))]
    for node, (moments, power) in here.items():
        assert there[node][1] == power and there[node][0].positions == moments.positions
        for name in ("gram", "cross", "target", "target_sum"):
            assert getattr(there[node][0], name).tobytes() == getattr(moments, name).tobytes()


def test_curves_and_trials_are_those_of_one_machine() -> None:
    trace, samples = opened()
    groups, batches = trace.prunable, fitted(samples)
    judge = by_criterion(groups, "obs")
    here = judged_curves(trace, groups, judge, batches, shares=(0.25, 0.5))
    clock = Clock(None)
    clock.crew = Others(trace, samples)
    there = judged_curves(trace, groups, judge, batches, shares=(0.25, 0.5), progress=clock.steps())
    assert clock.crew.asked
    for a, b in zip(here, there, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            assert a.removal.errors.tobytes() == b.removal.errors.tobytes()
            assert (a.removal.order == b.removal.order).all()
    trials = [curve.trials for curve in there if curve is not None]
    few = first_samples(trace.graph.model, samples.batches[-samples.held_out :], 64)
    told: list[tuple[int, int]] = []
    watch = Watch(lambda done, total, _: told.append((done, total)))
    crew = Others(trace, samples, unable=(0,))
    assert tried(trace, trials, few, crew, 0, watch) == output_errors(trace, trials, few)
    assert len(crew.asked) == -(-len(trials) // elsewhere.TOGETHER) > 1 and told[-1] == (len(trials),) * 2


def test_what_no_worker_can_do_is_done_here() -> None:
    trace, samples = opened()
    layers, batches = layers_of(trace), fitted(samples)
    assert captured(trace.graph, layers, batches, Others(trace, samples, unable=(2,)), Watch()) is None
    assert captured(trace.graph, layers, batches[:1], Others(trace, samples), Watch()) is None, "a single shard"
    with pytest.raises(ValueError, match="other batches"):
        capture(trace, samples, {"rows": [7, 64, 64], "digest": "", "nodes": [], "start": 0, "stop": 1}, 1)


def test_large_sums_are_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, samples = opened()
    layers, batches = layers_of(trace), fitted(samples)
    sums = sum(
        one.gram.nbytes + one.cross.nbytes
        for one, _ in (captured(trace.graph, layers, batches, Others(trace, samples), Watch()) or {}).values()
    )
    monkeypatch.setattr(elsewhere, "MOST_BYTES", sums)
    assert captured(trace.graph, layers, batches, Others(trace, samples), Watch()) is not None
    monkeypatch.setattr(elsewhere, "MOST_BYTES", sums - 1)
    crew = Others(trace, samples)
    assert captured(trace.graph, layers, batches, crew, Watch()) is None and not crew.asked


def test_shards_of_an_earlier_run_are_not_captured_again(tmp_path: Path) -> None:
    trace, samples = opened()
    layers, batches = layers_of(trace), fitted(samples)

    def run(unable: Sequence[int]) -> tuple[Any, Others]:
        clock, crew = Clock(None), Others(trace, samples, unable)
        clock.memory = Memory(tmp_path / "kept", every_s=0.0)
        return captured(trace.graph, layers, batches, crew, Watch(None, clock)), crew

    first, crew = run(unable=(1,))
    assert first is None and len(crew.asked) == len(borders(len(batches))) - 1
    second, crew = run(unable=())
    assert [number for _, number in crew.asked] == [1, 0]
    third, crew = run(unable=())
    assert not crew.asked
    for node in second:
        assert second[node][0].gram.tobytes() == third[node][0].gram.tobytes()


def test_positions_that_samples_do_not_decide() -> None:
    """What the other shards have cannot be known from one of them."""
    assert whole([12, 12, 6], [4, 4, 2]) and not whole([12, 11, 6], [4, 4, 2]) and not whole([12, 12, 12], [4, 4, 2])
    net = Net()
    x = net.input(1, 8, 8, name="image")
    found = net.transpose(net.op("NonZero", net.op("Floor", net.op("ReduceMax", x, axes=[1, 2, 3], keepdims=0))), 1, 0)
    rows = net.gemm(net.relu(net.gemm(net.op("Cast", found, to=1), 6)), 5)
    net.output(rows)
    trace, samples = opened(400, net.model().SerializeToString())
    layers, batches = layers_of(trace), fitted(samples)
    walker = Walker(trace.graph.model, batches, trace.facts.dtypes)
    assert len({summed(trace.graph, walker, layer)[0].positions for layer in layers}) == 1
    assert captured(trace.graph, layers, batches, AsItIs(trace, samples), Watch()) is None


class AsItIs(Others):
    """Gives nothing where it fails, as a worker does."""

    def each(self, kind: str, parts: Sequence[Any]) -> Iterator[tuple[int, list[Any]]]:
        for number in range(len(parts)):
            try:
                found = capture(self.trace, self.samples, parts[number], 1)
            except ValueError:
                yield number, []
            else:
                yield number, [found]
