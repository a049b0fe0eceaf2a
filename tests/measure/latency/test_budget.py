"""Targets in bytes are met by the file that is written; the search corrects a prediction by what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import onnxprune
from onnxprune.choose.budget import Counted, OutOfReach, aim
from onnxprune.choose.target import parse_target
from onnxprune.errors import UsageError
from onnxprune.model.load import load
from onnxprune.report import shrink
from onnxprune.report.render import plain
from onnxprune.trace import trace_model

ROOT = Path(__file__).resolve().parents[3]
DIGITS = ROOT / "models" / "digits.onnx"


@pytest.mark.parametrize("wrong", [0.6, 0.9, 1.3, 2.0])
def test_a_wrong_prediction_is_corrected(wrong: float) -> None:
    """What comes out is a fixed part and `wrong` times the prediction: steps of one."""
    tried: list[int] = []

    def choose(limit: float) -> int:
        tried.append(int(limit))
        return tried[-1]

    choice, cost = aim(200, choose, lambda c: 20 + wrong * c, start=200, most=1000, below=0.02)
    assert 196 <= cost <= 200 and cost == 20 + wrong * choice
    assert len(tried) <= 6


def test_steps_that_cannot_be_split_end_below() -> None:
    found = aim(100, lambda limit: 64 * (int(limit) // 64), float, start=100, most=1000, below=0.01)
    assert found == (64, 64.0)


def test_nothing_within_gives_the_least() -> None:
    """The choice cannot follow: what is reached is said, not raised."""
    assert aim(100, lambda _: 7, lambda _: 300.0, start=100, most=1000, below=0.05) == (7, 300.0)


def test_a_prediction_that_asks_too_much_is_tried_all_the_same() -> None:
    """It says that 150 is the least; in truth that is 90."""
    budget = Counted(trace_model(load(DIGITS)), parse_target("macs=50%"))

    def choose(limit: float) -> float:
        if limit < 150:
            raise OutOfReach(budget, 150.0)
        return limit

    choice, cost = aim(100, choose, lambda c: 0.6 * c, start=100, most=1000, below=0.05)
    assert 95 <= cost <= 100 and choice == pytest.approx(cost / 0.6)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "size=60%", "multiple_of": 4},
        {"target": "size=60%", "scope": "global", "repair": "none"},
        {"target": "size=400kB", "scope": "global"},
        {"target": "size=400kB", "scope": "global", "external_data": "always"},
        {"target": "size=0.7MB", "repair": "none", "criterion": "l2"},
    ],
    ids=str,
)
def test_the_written_file_meets_the_target(options: dict[str, Any], tmp_path: Path) -> None:
    result = onnxprune.shrink(DIGITS, tmp_path / "out.onnx", **options)
    written = sum(path.stat().st_size for path in result.written)
    target = result.target
    assert target is not None and target.kind == "size" and target.measured == written
    assert 0.9 * target.limit < written <= target.limit
    assert len(result.written) == (2 if options.get("external_data") == "always" else 1)


def test_with_data_the_bytes_go_where_they_cost_least(tmp_path: Path) -> None:
    data = {"image": np.load(ROOT / "models" / "digits_calib.npz")["image"][:64]}
    result = onnxprune.shrink(
        DIGITS, tmp_path / "out.onnx", target="size=50%", data=data, repair="least-squares", multiple_of=4
    )
    assert result.target is not None and result.written[0].stat().st_size <= result.target.limit
    shares = {round(group.removed / group.size, 2) for group in result.groups if group.removed}
    assert len(shares) > 2, "global: not the same share everywhere"


def test_external_data_counts(tmp_path: Path) -> None:
    """Before as well as after: the model file and its weights."""
    onnx.save(onnx.load(DIGITS), tmp_path / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=0)
    before = (tmp_path / "m.onnx").stat().st_size + (tmp_path / "m.data").stat().st_size
    result = onnxprune.shrink(tmp_path / "m.onnx", tmp_path / "out.onnx", target="size=50%", external_data="always")
    assert result.target is not None and result.target.before == before == load(tmp_path / "m.onnx").size_bytes
    assert sum(path.stat().st_size for path in result.written) <= before / 2


def test_a_file_cannot_become_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="out of reach"):
        onnxprune.shrink(DIGITS, tmp_path / "out.onnx", target="size=2kB")
    assert not list(tmp_path.iterdir())


def test_quantities() -> None:
    assert parse_target("size=10MB").limit(0) == 10_000_000
    assert parse_target("size=1MiB").limit(0) == 1 << 20
    assert parse_target("latency=4ms").limit(0) == pytest.approx(0.004)
    assert parse_target("latency=250 us").limit(0) == pytest.approx(0.00025)
    assert parse_target("latency=25%").limit(0.008) == pytest.approx(0.002)
    for wrong in ("latency=4", "latency=0ms", "latency=-1ms", "latency=fast", "size=x", "size=", "time=4ms"):
        with pytest.raises(UsageError):
            parse_target(wrong)


def test_what_meets_the_target_already_stays(tmp_path: Path) -> None:
    result = onnxprune.shrink(DIGITS, tmp_path / "out.onnx", target="size=2MB")
    assert not result.plan.removed_count and not result.written
    assert "the original meets size=2MB already" in plain(shrink.report(result))
