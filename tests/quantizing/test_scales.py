"""Scales that lose least."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto

from onnxprune.model.grids import Grid
from onnxprune.quantizing.scales import COLUMNS, refitted, searched


def lost(weight: np.ndarray, grid: Grid, power: np.ndarray | float = 1.0) -> np.ndarray:
    return np.asarray((np.reshape(power, (-1, 1)) * (weight - grid.rounded(weight)) ** 2).sum(axis=0))


@pytest.mark.parametrize("dtype", [TensorProto.INT4, TensorProto.UINT4, TensorProto.INT8, TensorProto.UINT8])
@pytest.mark.parametrize("block", [0, 16])
def test_the_search_never_loses_more(dtype: int, block: int) -> None:
    rng = np.random.default_rng(0)
    weight = rng.standard_t(3, (50, COLUMNS + 20)) + 0.3
    power = rng.uniform(0.1, 9.0, 50)
    plain, found = (searched(weight, dtype, power=power, block=block, ratios=r) for r in ((1.0,), (1.0, 0.9, 0.8)))
    assert found.scale.shape == ((4, COLUMNS + 20) if block else (COLUMNS + 20,))
    assert (lost(weight, found, power) <= lost(weight, plain, power) * 1.0001).all()
    less = dtype in (TensorProto.INT4, TensorProto.UINT4)  # 8 bits have steps enough
    assert not less or lost(weight, found, power).sum() < 0.99 * lost(weight, plain, power).sum()


def test_the_plain_range_loses_at_most_half_a_step() -> None:
    weight = np.random.default_rng(1).uniform(-3, 2, (64, 9))
    for dtype in (TensorProto.INT8, TensorProto.UINT8, TensorProto.INT4, TensorProto.UINT4):
        grid = searched(weight, dtype, ratios=(1.0,))
        assert (np.abs(weight - grid.rounded(weight)) <= grid.scale * (1.0 + 1e-5)).all()


def test_symmetric_means_a_zero_point_of_zero() -> None:
    weight = np.random.default_rng(2).uniform(1.0, 2.0, (40, 3))
    signed, unsigned = searched(weight, TensorProto.INT8), searched(weight, TensorProto.UINT8)
    assert not signed.zero_point.astype(int).any() and not unsigned.zero_point.astype(int).any()
    assert signed.integers(-weight).min() >= -127
    assert lost(weight, unsigned).sum() < 0.5 * lost(weight, signed).sum()


def test_power_decides_what_is_clipped() -> None:
    """An outlier that carries the output stays; one that no input ever uses is clipped."""
    weight = np.random.default_rng(3).standard_normal((32, 1))
    weight[5] = 9.0
    heavy, light = np.ones(32), np.ones(32)
    heavy[5], light[5] = 100.0, 0.0
    kept, clipped = (searched(weight, TensorProto.INT4, power=power) for power in (heavy, light))
    assert kept.rounded(weight)[5, 0] == pytest.approx(9.0, abs=0.1)
    assert clipped.rounded(weight)[5, 0] < 7.0


@pytest.mark.parametrize("power", [None, np.zeros(4), np.full(4, np.nan)])
def test_zeros_have_scales_as_well(power: np.ndarray | None) -> None:
    grid = searched(np.zeros((4, 2)), TensorProto.UINT4, power=power, block=16)
    assert (grid.scale > 0).all() and np.isfinite(grid.scale).all()
    assert not grid.rounded(np.zeros((4, 2))).any()


def test_scales_follow_the_integers() -> None:
    rng = np.random.default_rng(4)
    weight, x = rng.standard_normal((20, 6)), rng.standard_normal((90, 20)) @ rng.standard_normal((20, 20))
    grid = searched(weight, TensorProto.INT4)
    q = grid.integers(weight).astype(np.int32)
    new = refitted(weight, q, grid, x.T @ x)
    before, after = (np.square(x @ (weight - one.values(q))).sum(axis=0) for one in (grid, new))
    assert (after <= before * 1.0001).all() and after.sum() < before.sum()
    moved = Grid(new.dtype, new.scale * np.float32(1.02), new.zero_point, new.axis)
    assert (np.square(x @ (weight - moved.values(q))).sum(axis=0) > after).all()
