"""Which multiples of channels stay if nothing is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxprune import shrink
from onnxprune.choose.allocate.device import DEVICES, find_device
from onnxprune.choose.ranking import multiple_for
from onnxprune.errors import UsageError
from onnxprune.model.load import load
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Group
from onnxprune.trace.ops.context import Member
from tests.builders import Net

DIGITS = Path(__file__).parents[3] / "models" / "digits.onnx"


def group(units: int, per_unit: int, blocks: int = 1) -> Group:
    labels = np.repeat(np.arange(1, units + 1), per_unit)
    number = None if blocks == 1 else np.arange(units) % blocks
    return Group("g", np.arange(1, units + 1), members=[Member(0, 1, 0, labels)], blocks=number)


@pytest.mark.parametrize(
    ("units", "per_unit", "device", "multiple"),
    [
        (128, 1, "avx512", 16),
        (24, 1, "avx512", 16),
        (128, 1, "avx2", 8),
        (64, 2, "avx512", 8),
        (12, 32, "avx512", 1),
        (32, 4, "avx512", 4),
        (12, 3, "avx512", 16),
        (64, 12, "avx512", 4),
    ],
    ids=["channels", "narrow", "narrower kernels", "pairs", "heads of 32", "fours", "threes", "twelves"],
)
def test_a_unit_may_be_many_channels(units: int, per_unit: int, device: str, multiple: int) -> None:
    """What counts is the number of channels that layers see, in blocks of the kernels."""
    assert multiple_for(group(units, per_unit), find_device(device)) == multiple


def test_heads_and_positions_of_an_einsum_are_channels_together() -> None:
    """A weight of three axes is one of two for the kernels: 4 heads of 16 are 64 channels."""
    net = Net()
    x = net.input(5, 32)
    q = net.op("Einsum", x, net.normal(32, 4, 16), equation="...d,dhk->...hk", name="q")
    net.output(net.op("Einsum", net.relu(q), net.normal(4, 16, 6), equation="...hk,hke->...e", name="z"))
    groups = {g.size: g for g in trace_model(load(net.model())).prunable}
    assert {size: multiple_for(g, find_device("avx512")) for size, g in groups.items()} == {4: 1, 16: 4}


def test_blocks_lose_evenly_and_those_of_convolutions_by_steps_of_their_own() -> None:
    """What is normalised together only has to lose evenly; the groups of a convolution are apart for its kernels."""
    device = find_device("avx512")
    assert multiple_for(group(128, 1, blocks=8), device) == 16
    assert multiple_for(group(128, 1, blocks=4), device, apart=True) == 64
    assert multiple_for(group(32, 1, blocks=8), device, apart=True) == 1, "too narrow for the blocked layout anyway"


def test_this_machine_is_a_device() -> None:
    assert find_device() in DEVICES.values()
    with pytest.raises(UsageError, match=r"unknown device 'avx511'") as error:
        find_device("avx511")
    assert "Did you mean 'avx512'?" in str(error.value)


def test_a_cut_is_aligned_unless_it_is_told_not_to_be(tmp_path: Path) -> None:
    def left(name: str, **options: int) -> list[int]:
        out = tmp_path / name
        shrink(DIGITS, out, ratio=0.3, repair="none", **options)
        return [g.size for g in trace_model(load(out)).prunable]

    free, wide = left("free.onnx", multiple_of=1), left("wide.onnx")
    block = find_device().block
    before = [g.size for g in trace_model(load(DIGITS)).prunable]
    assert any(size % 4 for size in free)
    assert all(size % block == 0 or size == whole for size, whole in zip(wide, before, strict=True))
    assert sum(wide) == pytest.approx(sum(free), rel=0.1)
