"""Blocks are chosen by what a repair leaves of their error."""

from __future__ import annotations

import numpy as np
import pytest

import onnxprune
from onnxprune.choose.blocks import select_blocks
from onnxprune.choose.ranking import Options
from onnxprune.choose.target import parse_target
from onnxprune.model.load import Model, load
from onnxprune.shrinking.measured import open_budget
from onnxprune.trace import Trace, trace_model
from tests.builders import Net
from tests.choose.blocks.networks import PADS, block
from tests.choose.blocks.test_choice import SCALES, _unused, chain, samples


def by_errors(trace: Trace, errors: dict[str, float | None], target: str | None = None) -> tuple[str, ...]:
    names = {unit: branch.name for unit, branch in trace.removable_branches}
    asked = None if target is None else open_budget(trace, parse_target(target), None, _unused, _unused)
    found = select_blocks(
        trace, Options(ratio=0.5), samples(trace), asked, held_out=2, recovered=lambda unit: errors[names[unit]]
    )
    return found.blocks


def test_they_decide_instead_of_what_is_off_at_first() -> None:
    trace = chain(SCALES)
    assert by_errors(trace, {"one": 0.1, "two": 0.9, "three": 0.2, "four": 0.8}) == ("one", "three")
    assert by_errors(trace, {"one": 0.1, "two": 0.9, "three": 0.2, "four": None}) == ("two", "four"), "of one kind"


def test_a_choice_is_exchanged_for_one_of_less_error() -> None:
    """The large block loses least for what it saves, and leaves first; two small ones that are enough lose less."""
    net = Net()
    x = net.relu(net.stem())
    for name, inner in (("small", 8), ("other", 8), ("large", 28)):
        y = net.conv(net.relu(net.conv(x, inner, 3, pads=PADS)), 8, 3, name=f"{name}.b", pads=PADS)
        x = net.relu(net.add(y, x, name=name))
    net.head(x)
    trace = trace_model(load(net.model()), units="blocks")
    assert by_errors(trace, {"small": 0.2, "other": 0.2, "large": 0.5}, "macs=70%") == ("small", "other")
    assert by_errors(trace, {"small": 0.2, "other": 0.2, "large": 0.5}, "macs=40%") == ("large",)


def recoverable(near: float, far: float) -> Model:
    """Two blocks. One adds `near` times what came in, which the layer behind it can do itself; the other something of
    the scale `far` that no layer can."""
    net = Net()
    x = net.relu(net.stem())
    x = net.add(net.conv(x, 8, name="near.b"), x, name="near")
    x = net.relu(net.conv(x, 8, 3, pads=PADS))
    x = net.relu(block(net, x, "far"))
    net.head(x)
    model = load(net.model())
    keys = {node.name: node.input[1] for node in model.proto.graph.node if len(node.input) > 1}
    same, last = model.tensors[keys["near.b"]], model.tensors[keys["far.b"]]
    changed = {
        keys["near.b"]: same.with_array(near * np.eye(8, dtype=np.float32).reshape(8, 8, 1, 1)),
        keys["far.b"]: last.with_array(np.float32(far) * last.array()),
    }
    return model.replace(model.proto, {**model.tensors, **changed})


@pytest.mark.parametrize("repair", ["reconstruct", "none"])
def test_what_the_rest_can_make_up_for_leaves(repair: str) -> None:
    """Without a repair it is the block without which less is off at first that leaves."""
    model = recoverable(0.3, 1.2)
    data = np.random.default_rng(0).standard_normal((200, 3, 6, 6)).astype(np.float32)
    found = onnxprune.shrink(model, None, data=data, units="blocks", ratio=0.5, repair=repair)
    assert found.plan.blocks == (("near",) if repair == "reconstruct" else ("far",))
