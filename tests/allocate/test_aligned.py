"""Which multiples of channels stay if nothing is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxprune import shrink
from onnxprune.allocate import aligned
from onnxprune.choose import multiple_for
from onnxprune.model.load import load
from onnxprune.ops.context import Member
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Group

DIGITS = Path(__file__).parents[2] / "models" / "digits.onnx"


@pytest.mark.parametrize(
    ("channels", "multiple"), [(1, 1), (15, 1), (16, 4), (63, 4), (64, 8), (127, 8), (128, 16), (4096, 16)]
)
def test_by_width(channels: int, multiple: int) -> None:
    assert aligned(channels) == multiple


def group(units: int, per_unit: int, blocks: int = 1) -> Group:
    labels = np.repeat(np.arange(1, units + 1), per_unit)
    number = None if blocks == 1 else np.arange(units) % blocks
    return Group("g", np.arange(1, units + 1), members=[Member(0, 1, 0, labels)], blocks=number)


@pytest.mark.parametrize(
    ("units", "per_unit", "multiple"),
    [(128, 1, 16), (64, 2, 8), (12, 32, 1), (32, 4, 4), (12, 3, 4), (3, 3, 1)],
    ids=["channels", "pairs", "heads of 32", "fours", "threes", "few"],
)
def test_a_unit_may_be_many_channels(units: int, per_unit: int, multiple: int) -> None:
    """What counts is the number of channels that layers see."""
    assert multiple_for(group(units, per_unit)) == multiple


def test_blocks_have_a_step_of_their_own() -> None:
    assert multiple_for(group(128, 1, blocks=8)) == 1


def test_a_cut_is_aligned_unless_it_is_told_not_to_be(tmp_path: Path) -> None:
    def left(name: str, **options: int) -> list[int]:
        out = tmp_path / name
        shrink(DIGITS, out, ratio=0.3, repair="none", **options)
        return [g.size for g in trace_model(load(out)).prunable]

    free, wide = left("free.onnx", multiple_of=1), left("wide.onnx")
    assert any(size % 4 for size in free)
    assert not any(size % aligned(size) for size in wide)
    assert sum(wide) == pytest.approx(sum(free), rel=0.05)
