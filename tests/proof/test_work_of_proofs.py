"""How much work a proof of a long network is: what is looked up for every group grows with their number alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxprune.model.load import load
from onnxprune.model.save import write, write_scratch
from onnxprune.proof.effect import without_effect
from onnxprune.proof.inside import readers_of
from onnxprune.proof.scratch import save
from onnxprune.proof.worker import _Masks
from onnxprune.proof.wrong import Mutations, mutated, named_groups
from onnxprune.trace import Trace, trace_model
from onnxprune.trace.reference import build_reference
from tests.builders import Net
from tests.work import counted


def chain(count: int) -> Trace:
    net = Net()
    h = net.input(3, 4, 4)
    for _ in range(count):
        h = net.relu(net.conv(h, 8))
    net.output(net.conv(h, 4))
    return trace_model(load(net.model()))


def half(trace: Trace) -> np.ndarray:
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[::2]] = False
    return keep


@pytest.mark.parametrize("what", ["readers", "effect", "wrong plans"])
def test_twice_as_many_groups_are_twice_the_work(what: str) -> None:
    calls = []
    for count in (40, 80):
        trace = chain(count)
        keep, names = half(trace), [group.name for group in trace.prunable]
        changed = Mutations(trace, keep)
        with counted() as work:
            if what == "readers":
                assert len(readers_of(trace, keep, names, lambda key: True)) >= count
            elif what == "effect":
                assert without_effect(trace, names) == set()
            else:
                assert all((changed([name]) != keep).sum() == 2 for name in names)
        calls.append(work.calls)
    assert calls[1] < 2.3 * calls[0], calls


def test_closings_of_groups_are_those_that_touch_them() -> None:
    trace = chain(5)
    for group, found in zip(trace.prunable, trace.closings_of(trace.prunable), strict=True):
        expected = [c for c in trace.closings if np.isin(c.labels, group.units).any()]
        assert [(c.node, c.slot) for c in found] == [(c.node, c.slot) for c in expected] != []


def test_what_is_wrong_comes_on_top_of_what_is_right(tmp_path: Path) -> None:
    """Only masks that are others are written; what is fed is what the whole wrong plan says."""
    trace = chain(6)
    keep, masked = half(trace), build_reference(trace)
    name = next(iter(named_groups(trace, keep)))
    wrong = Mutations(trace, keep)([name], strong=True)
    changed = masked.feed(wrong, keep)
    assert 0 < len(changed) < len(masked.masks)
    right, top = save(tmp_path / "right", masked.feed(keep)), save(tmp_path / "wrong", changed)
    masks = _Masks([[right], [right, top], [right]])
    for number, plan in enumerate((keep, wrong, keep)):
        expected = masked.feed(plan)
        found = masks.of(number)
        assert set(found) == set(expected)
        assert all(np.array_equal(found[key], expected[key]) for key in expected)
    assert _Masks([]).of(0) == {}
    everything = mutated(trace, keep)
    assert all((everything != keep)[group.units].any() for group in named_groups(trace, keep).values())


def test_files_of_a_proof_are_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the disk nor a rename; what is to stay is still waited for."""
    waits: list[int] = []
    monkeypatch.setattr("os.fsync", waits.append)
    net = Net()
    net.output(net.conv(net.input(3, 4, 4), 64, 3))
    model = load(net.model())
    write_scratch(model, tmp_path / "scratch.onnx")
    assert waits == []
    write(model, tmp_path / "kept.onnx", external_data="always")
    assert len(waits) >= 3
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["kept.onnx", "kept.onnx.data", "scratch.onnx", "scratch.onnx.data"]
    for end in (".data",):
        assert (tmp_path / f"scratch.onnx{end}").read_bytes() == (tmp_path / f"kept.onnx{end}").read_bytes()
    assert load(tmp_path / "scratch.onnx").proto.graph.node == model.proto.graph.node
