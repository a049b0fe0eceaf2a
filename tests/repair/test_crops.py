"""Samples too large to learn from are taken in parts, where a network takes inputs of any size."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.cut import cut
from onnxprune.model.load import load
from onnxprune.repair import lessons as module
from onnxprune.repair.crops import parts
from onnxprune.repair.reconstruct import reconstruct
from onnxprune.trace import trace_model
from tests.builders import Net

Array = np.ndarray


def net_of(height: int | str, width: int | str, channels: int | str = 3) -> Net:
    net = Net()
    x = net.input(channels, height, width, name="x")
    h = net.relu(net.conv(x, 12, 3, pads=[1] * 4, name="a"))
    h = net.relu(net.conv(h, 12, 3, pads=[1] * 4, name="b"))
    net.output(net.conv(h, 3, 3, pads=[1] * 4, name="c"))
    return net


def samples(height: int = 128, width: int = 160, count: int = 5) -> list[dict[str, Array]]:
    rng = np.random.default_rng(0)
    return [{"x": rng.standard_normal((2, 3, height, width)).astype(np.float32)} for _ in range(count)]


def test_parts_are_what_samples_have() -> None:
    batches = samples()
    found = list(parts(load(net_of("h", "w").model()), batches))
    assert [one[0]["x"].shape for one in found] == [(2 * 2 * 2, 3, 64, 64), (2 * 4 * 5, 3, 32, 32)]
    x, cut_up = batches[0]["x"], found[1][0]["x"]
    assert (cut_up[1] == x[0, :, :32, 32:64]).all() and (cut_up[20] == x[1, :, :32, :32]).all()


@pytest.mark.parametrize("sizes", [(128, "w", 3), (128, 160, 3), ("h", "w", "c")])
def test_fixed_sizes_have_no_parts(sizes: tuple[int | str, int | str, int | str]) -> None:
    height, width, channels = sizes
    assert list(parts(load(net_of(height, width, channels).model()), samples())) == []


def test_small_samples_have_no_parts() -> None:
    assert list(parts(load(net_of("h", "w").model()), samples(48, 48))) == []


def test_reconstruction_takes_them_where_whole_samples_cost_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    trace = trace_model(load(net_of("h", "w").model()), sizes={"h": 128, "w": 160})
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[: group.size // 3]] = False
    batches = samples(count=10)
    whole = reconstruct(trace, keep, cut(trace, keep), batches, 2, budget=1e10)
    assert whole.steps > 0 and whole.after < whole.before
    monkeypatch.setattr(module, "parts", lambda *_: iter(()))
    none = reconstruct(trace, keep, cut(trace, keep), batches, 2, budget=1e10)
    assert none.steps == 0 and none.reason is not None and "multiply-accumulates" in none.reason
