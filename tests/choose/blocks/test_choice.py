"""Which blocks leave: the least error per cost, measured or by weights, until a target or a share is met."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.choose.blocks import choose, select_blocks
from onnxprune.choose.blocks.measure import OutputErrors
from onnxprune.choose.blocks.weights import energy
from onnxprune.choose.ranking import Options, Selection
from onnxprune.choose.target import parse_target
from onnxprune.cut import cut
from onnxprune.cut.plan import Plan, keep_of
from onnxprune.cut.planned_cost import PlannedCost
from onnxprune.errors import UsageError
from onnxprune.model.load import load
from onnxprune.shrinking.measured import open_budget
from onnxprune.trace import Trace, trace_model
from tests.builders import Net
from tests.choose.blocks.networks import PADS, block, nested, preactivated, transformer
from tests.oracle import session

Batches = list[dict[str, NDArray[Any]]]


def chain(scales: dict[str, float], fill: Callable[[Net, str, str], str] = block) -> Trace:
    """A block per entry, whose last convolution gives values of that scale."""
    net = Net()
    x = net.relu(net.stem())
    for name in scales:
        x = net.relu(fill(net, x, name))
    net.head(x)
    proto = net.model()
    last = {f"{name}.b": scale for name, scale in scales.items()}
    keys = {key: last[node.name] for node in proto.graph.node if node.name in last for key in node.input[1:]}
    model = load(proto)
    tensors = {
        name: tensor.with_array(tensor.array() * np.float32(keys[name])) if name in keys else tensor
        for name, tensor in model.tensors.items()
    }
    return trace_model(load(model.replace(model.proto, tensors).complete_proto()), units="blocks")


def samples(trace: Trace, count: int = 6, size: int = 4) -> Batches:
    rng = np.random.default_rng(0)
    name = trace.graph.model.proto.graph.input[0].name
    return [{name: rng.standard_normal((size, 3, 6, 6)).astype(np.float32)} for _ in range(count)]


def _unused(*_: Any) -> Any:
    raise AssertionError("MACs and parameters are neither timed nor written")


def gone(trace: Trace, data: bool, ratio: float = 0.5, target: str | None = None, **options: Any) -> tuple[str, ...]:
    return chosen(trace, samples(trace) if data else None, ratio, target, **options).blocks


def chosen(trace: Trace, batches: Batches | None, ratio: float, target: str | None, **options: Any) -> Selection:
    asked = None if target is None else open_budget(trace, parse_target(target), None, _unused, _unused)
    return select_blocks(trace, Options(ratio=ratio, **options), batches, asked, held_out=2)


SCALES = {"one": 1.0, "two": 0.01, "three": 0.3, "four": 0.05}
both = pytest.mark.parametrize("data", [False, True], ids=["weights", "data"])


@both
def test_what_adds_least_leaves_first(data: bool) -> None:
    trace = chain(SCALES)
    assert gone(trace, data, 0.0) == ()
    assert gone(trace, data, 0.25) == ("two",)
    assert gone(trace, data, 0.74) == ("two", "four")
    assert gone(trace, data, 0.75) == ("two", "three", "four")


@both
@pytest.mark.parametrize("kind", ["macs", "params"])
def test_a_target_is_met_and_nothing_leaves_in_vain(data: bool, kind: str) -> None:
    trace = chain(SCALES)
    names = gone(trace, data, target=f"{kind}=60%")
    planned = PlannedCost(trace)
    measure = planned.macs if kind == "macs" else planned.parameters
    limit = 0.6 * measure(np.ones(trace.unit_count, bool))

    def cost(blocks: tuple[str, ...]) -> int:
        return measure(keep_of(Plan(trace.graph.model.sha256, (), "blocks", blocks=blocks), trace))

    assert names == ("two", "four") and cost(names) <= limit
    assert all(cost(tuple(set(names) - {name})) > limit for name in names)


def test_a_target_out_of_reach_is_an_error() -> None:
    with pytest.raises(UsageError, match="out of reach"):
        gone(chain(SCALES), False, target="macs=1%")


def test_error_per_cost_not_error() -> None:
    """Of two blocks that add alike, the expensive one leaves."""

    def fill(net: Net, x: str, name: str) -> str:
        inner = net.relu(net.conv(x, 8, 3, pads=PADS))
        if name == "large":
            inner = net.conv(net.relu(net.conv(inner, 24, 3, pads=PADS)), 8)
        return net.add(net.conv(inner, 8, 3, name=f"{name}.b", pads=PADS), x, name=name)

    trace = chain({"small": 0.05, "large": 0.05}, fill)
    assert gone(trace, False, target="macs=95%") == ("large",)


@both
def test_patterns_say_which(data: bool) -> None:
    trace = chain(SCALES)
    found = chosen(trace, samples(trace) if data else None, 0.5, None, exclude=("two.a",))
    assert found.blocks == ("four",) and found.reasons == {"two": "excluded"}
    found = chosen(trace, samples(trace) if data else None, 0.9, None, include=("one*", "three"))
    assert found.blocks == ("three",) and set(found.reasons.values()) == {"not included"}
    with pytest.raises(UsageError, match="matches no node"):
        chosen(trace, None, 0.5, None, exclude=("five",))


def test_errors_are_those_of_the_network_without_the_blocks() -> None:
    trace = chain(SCALES)
    batches = samples(trace)
    errors = OutputErrors(trace, batches)
    units = {branch.name: unit for unit, branch in trace.removable_branches}
    original = session(trace.graph.model.complete_proto())
    wanted = np.concatenate([original.run(None, batch)[0].ravel() for batch in batches]).astype(np.float64)
    for names in itertools.combinations(SCALES, 2):
        keep = keep_of(Plan(trace.graph.model.sha256, (), "blocks", blocks=names), trace)
        smaller = session(cut(trace, keep).complete_proto())
        found = np.concatenate([smaller.run(None, batch)[0].ravel() for batch in batches]).astype(np.float64)
        expected = ((found - wanted) ** 2).sum() / ((wanted - wanted.mean()) ** 2).sum()
        assert errors.without([units[name] for name in names]) == pytest.approx(expected, rel=1e-4)
    assert errors.without([]) == 0.0


def test_what_left_is_measured_together_if_that_is_affordable(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    measure = OutputErrors.without
    monkeypatch.setattr(OutputErrors, "without", lambda self, units: calls.append(len(units)) or measure(self, units))
    trace = chain(SCALES)
    assert gone(trace, True, 0.5) == ("two", "four") and max(calls) == 2
    calls.clear()
    monkeypatch.setattr(choose, "BUDGET", 0)
    assert gone(trace, True, 0.5) == ("two", "four") and calls == [1] * len(SCALES)


def test_energy_is_the_mean_square_of_what_is_added() -> None:
    """For inputs of the last layer that are independent and of mean square 1; exact behind a normalisation."""
    trace = chain({"one": 0.5})
    (_, branch), node = trace.removable_branches[0], next(n for n in trace.graph.nodes if n.label == "one.b")
    weight, bias = (trace.graph.constants[key].array().astype(np.float64) for key in node.inputs[1:])
    x = np.random.default_rng(0).standard_normal((200_000, weight[0].size))
    measured = np.mean((x @ weight.reshape(8, -1).T + bias) ** 2)
    assert energy(trace.graph, branch) == pytest.approx(measured, rel=0.02)


def test_energy_of_other_branches() -> None:
    net = Net()
    x = net.stem()
    normalised = net.op("Mul", net.bn(net.conv(x, 8)), net.constant(np.full((8, 1, 1), 3.0, np.float32)))
    x = net.add(x, normalised, name="normalised")
    x = net.add(x, net.op("MaxPool", x, kernel_shape=[3, 3], pads=PADS), name="pooled")
    net.head(x)
    trace = trace_model(load(net.model()), units="blocks")
    (_, first), *_ = trace.removable_branches
    assert first.name == "normalised"
    bn = next(n for n in trace.graph.nodes if n.op_type == "BatchNormalization")
    gamma, beta = (trace.graph.constants[key].array().astype(np.float64) for key in bn.inputs[1:3])
    assert energy(trace.graph, first) == pytest.approx(9 * np.mean(gamma**2 + beta**2))
    for fill in (preactivated, transformer, nested):
        net = Net()
        fill(net)
        trace = trace_model(load(net.model()), units="blocks")
        assert all((energy(trace.graph, branch) or 0) > 0 for _, branch in trace.removable_branches)


def test_nested_blocks_count_once() -> None:
    net = Net()
    nested(net)
    trace = trace_model(load(net.model()), units="blocks")
    assert gone(trace, False, 0.5) == ("inner",), "the outer one is two of two"
    assert gone(trace, False, target="macs=30%") == ("inner", "outer")
