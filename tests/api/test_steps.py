"""Removal in steps: how much each takes, that all together are one cut of the original, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import onnxprune
from onnxprune.choose.schedule import SCHEDULES, shares
from onnxprune.cut import cut
from onnxprune.errors import UsageError
from onnxprune.model.load import load
from onnxprune.shrinking.steps import composed
from onnxprune.trace import trace_model
from tests.small import small_network

MODELS = Path(__file__).parents[2] / "models"
DIGITS, SAMPLES = MODELS / "digits.onnx", MODELS / "digits_calib.npz"


@given(st.sampled_from(SCHEDULES), st.floats(0.0, 1.0), st.integers(1, 12))
def test_shares_rise_to_the_whole(schedule: str, whole: float, steps: int) -> None:
    found = shares(schedule, whole, steps)
    assert len(found) == (1 if schedule == "one-shot" else steps)
    assert found[-1] == whole
    assert all(-1e-12 <= a <= b + 1e-12 for a, b in itertools.pairwise(found))


def test_shares_of_each_schedule() -> None:
    assert shares("linear", 0.6, 3) == pytest.approx([0.2, 0.4, 0.6])
    assert shares("exp", 0.75, 2) == pytest.approx([0.5, 0.75])
    assert shares("cos", 0.8, 2) == pytest.approx([0.4, 0.8])
    assert shares("cube", 0.8, 2) == pytest.approx([0.7, 0.8])


def test_two_masks_are_one() -> None:
    """Cutting twice and cutting once by the mask of both give the same weights."""
    rng = np.random.default_rng(0)
    first = trace_model(load(DIGITS))
    keep = _random_mask(first, rng)
    second = trace_model(cut(first, keep))
    again = _random_mask(second, rng)
    both = composed(first, keep, second, again)
    assert (~both).sum() == (~keep).sum() + (~again).sum()
    twice, once = cut(second, again), cut(first, both)
    assert twice.tensors.keys() == once.tensors.keys()
    for name, tensor in once.tensors.items():
        np.testing.assert_array_equal(tensor.array(), twice.tensors[name].array(), err_msg=name)


@pytest.mark.parametrize(
    "options",
    [
        {"target": "macs=50%", "schedule": "linear", "data": SAMPLES, "repair": "least-squares"},
        {"target": "params=60%", "schedule": "exp", "steps": 2},
        {"ratio": 0.5, "steps": 4, "multiple_of": 4},
        {"ratio": 0.4, "schedule": "cube", "steps": 2, "data": SAMPLES, "repair": "scale-shift", "multiple_of": 4},
    ],
    ids=["target, samples", "parameters, no samples", "ratio", "ratio, samples"],
)
def test_steps_end_where_they_should(tmp_path: Path, options: dict[str, Any]) -> None:
    out = tmp_path / "out.onnx"
    result = onnxprune.shrink(DIGITS, out, **options)
    assert result.after is not None and result.plan.options["steps"] == options.get("steps", 3)
    if "ratio" in options:
        assert result.reached_ratio == pytest.approx(options["ratio"], abs=0.03)
    else:
        assert result.target is not None
        assert 0.9 * result.target.limit < result.target.planned <= result.target.limit
    assert onnxprune.verify(DIGITS, out).proof.worst_relative < 1e-4


def _widths(result: Any) -> dict[str, int]:
    return {group.name: group.size - group.removed for group in result.groups}


@pytest.mark.parametrize("steps", [2, 10])
@pytest.mark.parametrize("options", [{}, {"multiple_of": 1}, {"include": ["stage1*"]}], ids=["default", "free", "some"])
def test_many_small_steps_end_where_one_does(steps: int, options: dict[str, Any]) -> None:
    """What a step rounds away, since it is less than a multiple, is asked again in the next one."""
    once = onnxprune.shrink(DIGITS, dry_run=True, ratio=0.3, **options)
    stepped = onnxprune.shrink(DIGITS, dry_run=True, ratio=0.3, steps=steps, repair="none", **options)
    assert _widths(stepped) == _widths(once)
    assert {g.name: g.reason for g in stepped.groups} == {g.name: g.reason for g in once.groups}


@pytest.mark.parametrize("multiple_of", [None, 1])
def test_steps_of_a_global_ranking_take_as_much_as_one(multiple_of: int | None) -> None:
    asked: dict[str, Any] = {"ratio": 0.6, "scope": "global", "multiple_of": multiple_of, "dry_run": True}
    once = onnxprune.shrink(DIGITS, **asked)
    stepped = onnxprune.shrink(DIGITS, steps=5, repair="none", **asked)
    assert stepped.reached_ratio == pytest.approx(once.reached_ratio, abs=0.01)
    assert all(group.reason is None for group in stepped.groups if group.removed)


def test_a_share_that_stays_is_of_the_group_as_it_was() -> None:
    asked: dict[str, Any] = {"ratio": 0.7, "min_keep": "60%", "multiple_of": 1, "dry_run": True, "repair": "none"}
    once = onnxprune.shrink(DIGITS, **asked)
    stepped = onnxprune.shrink(DIGITS, steps=4, **asked)
    assert _widths(stepped) == _widths(once)
    assert all(
        width >= 0.6 * group.size for group, width in zip(stepped.groups, _widths(stepped).values(), strict=True)
    )


def test_steps_without_repair_are_the_plan_alone(tmp_path: Path) -> None:
    """A file made in steps and one made from its plan are the same network."""
    stepped, planned = tmp_path / "stepped.onnx", tmp_path / "planned.onnx"
    result = onnxprune.shrink(DIGITS, stepped, ratio=0.5, schedule="linear", steps=2, repair="none")
    onnxprune.shrink(DIGITS, planned, plan=result.plan, repair="none")
    a, b = load(stepped), load(planned)
    assert {k: v.array().tobytes() for k, v in a.tensors.items()} == {
        k: v.array().tobytes() for k, v in b.tensors.items()
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"schedule": "one-shot", "steps": 3}, "one step"),
        ({"schedule": "linear", "target": "latency=50%"}, "counted"),
        ({"schedule": "linear", "units": "blocks"}, "blocks"),
        ({"schedule": "often"}, "linear"),
        ({"steps": 0}, "at least 1"),
    ],
)
def test_what_steps_do_not_go_with(tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        onnxprune.shrink(DIGITS, tmp_path / "out.onnx", **options)
    assert not list(tmp_path.iterdir())


def _random_mask(trace: Any, rng: np.random.Generator) -> Any:
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[rng.choice(group.units, group.size // 3, replace=False)] = False
    return keep


def test_auto_is_measured_once_and_recorded(tmp_path: Path) -> None:
    small = small_network(tmp_path / "small.onnx")
    result = onnxprune.shrink(small, dry_run=True, ratio=0.5, steps=2, multiple_of="auto", out=tmp_path / "out.onnx")
    number = result.plan.options["multiple_of"]
    assert number in (1, 2, 4, 8, 16)
    shrunk = [group for group in result.groups if group.removed]
    assert shrunk and all((group.size - group.removed) % number == 0 for group in shrunk)
