"""Times of choices. Where logic is tested, they are computed; where the clock itself runs, no time is asserted."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper

import onnxprune
from onnxprune.choose.allocate.by_cost import Curve, by_cost
from onnxprune.choose.ranking import Options
from onnxprune.choose.reach import narrowest
from onnxprune.choose.select import select
from onnxprune.choose.target import parse_target
from onnxprune.cut import cut
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.measure.latency.form import Form
from onnxprune.measure.latency.layers import Signature, Widths, signature
from onnxprune.measure.latency.meter import Meter
from onnxprune.measure.latency.multiple import CANDIDATES, best_multiple
from onnxprune.measure.latency.network import Network, Profile
from onnxprune.measure.latency.runtime import Feed, layer_times
from onnxprune.measure.latency.table import Layer, Table, sampled
from onnxprune.measure.timing import Floats, clock_of, interleaved, paired_ratio, undisturbed
from onnxprune.model.graph import build
from onnxprune.model.infer import infer
from onnxprune.model.load import Model, load
from onnxprune.shrinking import measured as budgets
from onnxprune.shrinking.measured import Timed
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

DIGITS = Path(__file__).resolve().parents[3] / "models" / "digits.onnx"
FLOAT = 1


def steps(signature: Signature, points: Sequence[Widths]) -> Floats:
    """Four inputs and eight outputs at once, whatever there is of them; a fixed part besides."""
    positions = math.prod(signature.rest) * max(math.prod(signature.kernel), 1)
    return np.array([5e-6 + 1e-9 * positions * -(-k // 4) * -(-n // 8) * blocks for k, n, blocks in points])


def conv(positions: int = 64) -> Signature:
    return Signature("Conv", (), (1, positions), (3,), True, True, "Relu", FLOAT)


def network(trace: Trace, whole: float = 0.01) -> Network:
    kinds = {"Conv": 0.8 * whole, "MaxPool": 0.1 * whole, "ReorderInput": 0.05 * whole}
    return Network(trace, trace.facts, Table(steps), Profile(whole, kinds, 500))


@pytest.mark.parametrize("full", [(16, 16, 1), (64, 96, 1), (40, 200, 1), (256, 250, 1), (1, 1, 144)])
def test_the_table_knows_what_lies_between(full: Widths) -> None:
    layer = Layer(conv(), full, (full[0] > 1, full[1] > 1, full[2] > 1), steps)
    rng = np.random.default_rng(0)
    for least, error in ((8, 0.15), (1000, 0.6)):  # coarser where hardly anything is left
        for _ in range(100):
            k, n, blocks = (int(rng.integers(max(size // least, 1), size + 1)) for size in full)
            true = float(steps(conv(), [(k, n, blocks)])[0])
            assert layer.time((k, n, blocks)) == pytest.approx(true, rel=error), (k, n, blocks)
    assert layer.time(full) == float(steps(conv(), [full])[0])
    assert layer.time((0, full[1], 1)) == 0


def test_the_table_shows_steps_where_nothing_was_measured() -> None:
    layer = Layer(conv(4096), (512, 512, 1), (True, True, True), steps)
    asked = [w for w in range(321, 370) if w not in sampled(512)]
    assert len(asked) > 40
    for width in asked:
        wider = layer.time((512, width + 1, 1)) / layer.time((512, width, 1))
        assert (wider > 1.01) == (width % 8 == 0), width


def test_the_original_takes_what_it_takes_and_less_takes_less() -> None:
    trace = trace_model(load(DIGITS))
    found, everything = network(trace), np.ones(trace.unit_count, bool)
    assert found.cost(everything) == pytest.approx(0.01)
    last = 0.01
    for share in (0.25, 0.5, 0.75):
        keep = everything.copy()
        for group in trace.prunable:
            keep[group.units[: int(share * group.size)]] = False
        assert found.cost(keep) < last
        last = found.cost(keep)
    assert last > 0.0005, "a run takes its time besides its kernels"


def test_a_time_of_another_load_is_no_overhead() -> None:
    """The kernels were timed on a quiet machine, the whole on a busy one."""
    trace = trace_model(load(DIGITS))
    found = Network(trace, trace.facts, Table(steps), Profile(0.04, {"Conv": 0.01}, 20))
    keep = np.ones(trace.unit_count, bool)
    assert found.cost(keep) == pytest.approx(0.04)
    for group in trace.prunable:
        keep[group.units[1:]] = False
    assert found.cost(keep) < 0.01


def _same() -> bytes:
    return helper.make_attribute("auto_pad", "SAME_UPPER").SerializeToString(deterministic=True)


def test_layers_that_pad_by_the_size_are_timed() -> None:
    net = Net(17)
    net.output(net.conv(net.input(3, 9, 9), 8, 3, auto_pad="SAME_UPPER"))
    graph = build(load(net.model()))
    found = signature(graph, infer(graph), graph.nodes[-1])
    assert found == Signature("Conv", (_same(),), (1, 9, 9), (3, 3), True, True, "", FLOAT)


def test_times_of_all_kinds_of_layers() -> None:
    """The runtime does each of them alone, at any widths, and its profile says which is which."""
    depthwise: list[Widths] = [(1, 1, 8), (1, 1, 3)]
    plain: list[Widths] = [(8, 16, 1), (3, 5, 1), (1, 1, 1)]
    kinds = [
        (Signature("Conv", (), (1, 8, 8), (3, 3), True, True, "Clip", FLOAT), plain),
        (Signature("Conv", (), (1, 8, 8), (3, 3), False, True, "", FLOAT), [*depthwise, (4, 2, 3)]),
        (Signature("ConvTranspose", (_ints("strides", [2, 2]),), (1, 8, 8), (2, 2), True, True, "Relu", FLOAT), plain),
        (Signature("Conv", (_same(),), (1, 9, 9), (3, 3), True, True, "", FLOAT), plain),
        (Signature("Gemm", (), (4,), (), True, True, "", FLOAT), plain),
        (Signature("MatMul", (), (4,), (), False, True, "", FLOAT), plain),
        (Signature("MatMul", (), (4,), (), False, False, "", FLOAT), [(8, 4, 2), (8, 4, 1)]),
    ]
    for kind, points in kinds:
        times = layer_times(kind, points, 1)
        assert times.shape == (len(points),) and (times > 0).all(), kind


def test_kernels_shorter_than_the_profile_can_say_are_told_apart() -> None:
    """A single one would be half a microsecond, or one and a half."""
    kind = Signature("Conv", (), (1, 4, 4), (1, 1), True, True, "", FLOAT)
    assert layer_times(kind, [(1, 1, 1), (2, 2, 1)], 1).min() < 0.5e-6


def _ints(name: str, values: list[int]) -> bytes:
    return bytes(helper.make_attribute(name, values).SerializeToString(deterministic=True))


def test_a_stepped_cost_is_cut_at_its_steps() -> None:
    sizes = (64, 40, 24)
    curves = [Curve(str(n), (np.arange(n + 1) / n) ** 1.5, np.arange(n)) for n in sizes]

    def cost(counts: Sequence[int]) -> float:
        return float(sum(-(-(n - k) // 8) for n, k in zip(sizes, counts, strict=True)))

    counts = by_cost(curves, cost, 10, stepped=True)
    assert counts is not None and cost(counts) <= 10
    kept = [n - k for n, k in zip(sizes, counts, strict=True)]
    assert all(width % 8 == 0 for width in kept), kept


@pytest.mark.parametrize(("block", "expected"), [(1, 1), (4, 4), (8, 8), (16, 16)])
def test_the_best_multiple_is_that_of_the_kernels(block: int, expected: int) -> None:
    def blocks(signature: Signature, points: Sequence[Widths]) -> Floats:
        return np.array([1e-9 * math.prod(signature.rest) * k * -(-n // block) * block * b for k, n, b in points])

    trace = trace_model(load(DIGITS))
    found = Network(trace, trace.facts, Table(blocks), Profile(0.01, {"Conv": 0.01}))
    assert best_multiple(trace, found.cost, PlannedCost(trace).macs) == expected


def test_auto_is_a_number_in_the_plan(tmp_path: Path) -> None:
    net = Net(batch=1)
    h = net.relu(net.conv(net.input(3, 24, 24), 32, name="a"))
    net.output(net.conv(h, 4, name="z"))
    result = onnxprune.shrink(load(net.model()), tmp_path / "out.onnx", ratio=0.3, multiple_of="auto", threads=1)
    found = result.plan.options["multiple_of"]
    assert found in CANDIDATES
    assert all((group.size - group.removed) % found == 0 for group in result.groups if group.removed)
    with pytest.raises(onnxprune.OnnxPruneError, match="auto"):
        onnxprune.shrink(load(net.model()), tmp_path / "no.onnx", multiple_of="some")


class Slow(Timed):
    """On a machine on which everything takes 20 % more than predicted, and 1 ms."""

    def __init__(self, trace: Trace, asked: str) -> None:
        meter = Meter(trace, {"image": np.zeros((1, 1, 8, 8), np.float32)}, measure=steps)
        meter.profile = Profile(0.01, {"Conv": 0.008, "MaxPool": 0.001}, 500)
        super().__init__(trace, parse_target(asked), meter)

    def time(self, keep: NDArray[np.bool_]) -> float:
        return 0.001 + 1.2 * self.cost(keep)


@pytest.mark.parametrize("asked", ["latency=50%", "latency=6ms"])
def test_the_limit_is_corrected_by_what_was_measured(asked: str) -> None:
    trace = trace_model(load(DIGITS))
    budget = Slow(trace, asked)
    found = select(trace, Options(criterion="l1", scope="global"), None, budget)
    keep = np.ones(trace.unit_count, bool)
    for group, mask in zip(found.groups, found.keep, strict=True):
        keep[group.units] = mask
    assert 0.9 * budget.limit <= budget.time(keep) <= 1.01 * budget.limit
    assert budget.cost(keep) < 0.9 * budget.limit, "the prediction alone would have stopped earlier"


class Quick(Timed):
    """On a machine on which narrow layers take less than predicted."""

    def time(self, keep: NDArray[np.bool_]) -> float:
        return self.before - 1.25 * (self.before - self._predicted(keep))


def test_predictions_are_stretched_to_what_the_narrowest_network_takes() -> None:
    """What is in reach would else seem out of it."""
    trace = trace_model(load(DIGITS))
    meter = Meter(trace, {"image": np.zeros((1, 1, 8, 8), np.float32)}, measure=steps)
    meter.profile = Profile(0.01, {"Conv": 0.008, "MaxPool": 0.001}, 500)
    narrow = narrowest(trace, Options(criterion="l1", scope="global"))
    budget = Quick(trace, parse_target("latency=50%"), meter, narrow)
    for keep in (np.ones(trace.unit_count, bool), narrow):
        assert budget.cost(keep) == pytest.approx(budget.time(keep))


def test_of_a_step_too_large_some_groups_take_none() -> None:
    """With the same share everywhere all widths would step at once, from above the limit to 85 % of it."""
    trace = trace_model(load(DIGITS))
    budget = Slow(trace, "latency=70%")
    found = select(trace, Options(criterion="l1", scope="local", multiple_of=16), None, budget)
    keep = np.ones(trace.unit_count, bool)
    for group, mask in zip(found.groups, found.keep, strict=True):
        keep[group.units] = mask
    assert 0.9 * budget.limit <= budget.time(keep) <= 1.01 * budget.limit
    assert all(int(mask.sum()) % 16 == 0 for mask in found.keep if not mask.all())


def test_a_busy_machine_is_said() -> None:
    budget = Slow(trace_model(load(DIGITS)), "latency=60%")
    assert budget.notes == ()
    budget._meter.spread = 1.5
    assert "1.5" in budget.notes[0]


def test_interleaved_times_are_paired() -> None:
    calls: list[int] = []
    times = interleaved([lambda: calls.append(0), lambda: calls.append(1)], 10)
    assert times.shape == (10, 2) and (times > 0).all()
    assert {0, 1} == set(calls)
    disturbed = np.tile([[1.0, 2.0]], (10, 1))
    disturbed[[1, 7]] *= 50, 1
    disturbed[3, 0] = 30
    assert undisturbed(disturbed).shape == (2, 2)
    assert paired_ratio(undisturbed(disturbed)) == 2.0


def test_a_single_thread_is_timed_by_its_own_clock() -> None:
    """Which does not count what others do with the processor meanwhile."""
    waits = [lambda: sleep(0.02)]
    own, wall = (interleaved(waits, 2, clock=clock_of(threads)) for threads in (1, 2))
    assert (wall >= 0.02).all() and (own < wall / 4).all()


class Computed(Meter):
    """A machine on which layers take what `steps` says, and a run 1 us besides."""

    def __init__(
        self, trace: Trace, feed: Feed, threads: int = 0, *, form: Form | None = None, table: Table | None = None
    ) -> None:
        super().__init__(trace, feed, threads, form=form, measure=steps, table=table)
        self._whole = self._seconds(trace.graph.model)
        self.profile = Profile(self._whole, {"Conv": self._whole - 1e-6}, 20)

    def _seconds(self, model: Model) -> float:
        graph = build(model)
        facts = infer(graph)
        layers = [(signature(graph, facts, node), node) for node in graph.nodes if node.op_type == "Conv"]
        shapes = [model.tensors[node.inputs[1]].shape for _, node in layers]
        return 1e-6 + sum(
            float(steps(kind, [(k, n, 1)])[0])
            for (kind, _), (n, k, *_) in zip(layers, shapes, strict=True)
            if kind is not None
        )

    def against_original(self, candidate: Model) -> tuple[float, float]:
        found = self._seconds(candidate)
        return found / self._whole, found


def test_the_clock_measures_what_was_cut() -> None:
    """Whatever it says."""
    trace = trace_model(load(DIGITS))
    meter = Meter(trace, {"image": np.zeros((1, 1, 8, 8), np.float32)}, 1)
    assert meter.profile.whole > 0 and meter.profile.kernels["Conv"] > 0
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[: group.size // 2]] = False
    ratio, seconds = meter.against_original(cut(trace, keep))
    assert ratio > 0 and seconds > 0 and meter.spread >= 1


def test_a_model_is_timed_and_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked, predicted and measured is in the result and the plan."""
    monkeypatch.setattr(budgets, "Meter", Computed)
    net = Net(batch=1)
    h = net.relu(net.conv(net.input(3, 24, 24), 24, name="a"))
    h = net.relu(net.conv(h, 24, name="b"))
    net.output(net.conv(h, 4, name="z"))
    source = load(net.model())
    result = onnxprune.shrink(source, tmp_path / "out.onnx", target="latency=80%", threads=1, repair="none")
    target = result.target
    assert target is not None and target.asked == "latency=80%" == result.plan.options["target"]
    assert target.before > 0 and target.limit == pytest.approx(0.8 * target.before)
    assert 0 < target.planned < target.before and target.measured is not None
    assert 0.7 * target.before < target.measured <= 1.1 * target.limit
    assert result.plan.removed_count > 0 and result.written


def test_with_data_what_is_cut_is_what_was_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which channels leave is decided once more when their number is known."""
    monkeypatch.setattr(budgets, "Meter", Computed)
    net = Net(batch="N")
    h = net.relu(net.conv(net.input(3, 16, 16, name="x"), 24, name="a"))
    net.output(net.conv(net.relu(net.conv(h, 24, name="b")), 4, name="z"))
    samples = np.random.default_rng(0).standard_normal((12, 3, 16, 16)).astype(np.float32)
    options = {"target": "latency=85%", "repair": "none", "threads": 1, "dry_run": True}
    result = onnxprune.shrink(load(net.model()), tmp_path / "out.onnx", data={"x": samples}, **options)  # type: ignore[arg-type]
    assert result.plan.options["scope"] == "global" and result.plan.removed_count > 0
    assert result.target is not None and result.target.measured is not None


def test_values_between_layers_have_axes_of_their_own() -> None:
    """Channels that are shuffled are two axes meanwhile, which no layer sees."""
    net = Net(batch=1)
    apart = net.reshape(net.conv(net.input(3, 8, 8), 16, kernel=3, pads=[1] * 4), 1, 2, 8, 8, 8)
    turned = net.relu(net.transpose(apart, 0, 2, 1, 3, 4))
    net.output(net.relu(net.conv(net.reshape(turned, 1, 16, 8, 8), 8)))
    trace = trace_model(load(net.model()))
    kernels = {"Conv": 0.005, "Relu": 0.001, "Transpose": 0.003, "Reshape": 0.001}
    found = Network(trace, trace.facts, Table(steps), Profile(0.01, kernels, 6))
    keep = np.ones(trace.unit_count, bool)
    assert found.cost(keep) == pytest.approx(0.01)
    for group in trace.prunable:
        keep[group.units[: group.size // 2]] = False
    assert found.cost(keep) < 0.0075
