"""What errors of repaired layers are relative to, where the samples hardly vary; and samples that overflow."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.capture.moments import ROUNDING, Moments, Split, meaningful
from onnxprune.cut import cut
from onnxprune.errors import ModelError
from onnxprune.model.load import load
from onnxprune.repair.least_squares import Refit, least_squares
from onnxprune.repair.scale_shift import scale_shift
from onnxprune.trace import trace_model
from tests.builders import Net

Array = NDArray[Any]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((6, 3, 8, 8)).astype(np.float32)
SAMPLES = {
    "equal": np.repeat(X[:1], 6, axis=0),
    "two": X[:2],
    "three": X[:3],
    "constant": np.ones_like(X),
    "zero": np.zeros_like(X),
    "denormal": X * np.float32(1e-40),
    "nearly equal": X[:1] + np.float32(1e-6) * X,
}


def repaired(repair: Any, x: Array) -> Refit:
    """Half of the channels of a small network leave; the last sample is held out."""
    net = Net(seed=4)
    value = net.relu(net.conv(net.input(3, 8, 8, name="x"), 8, 3, pads=[1, 1, 1, 1]))
    value = net.relu(net.conv(value, 8, 3))
    net.output(net.gemm(net.op("Flatten", net.op("GlobalAveragePool", value)), 5))
    trace = trace_model(load(net.model()))
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[::2]] = False
    assert not keep.all()
    feeds = [{"x": x[:-1]}, {"x": x[-1:]}]
    found: Refit = repair(trace, keep, cut(trace, keep), feeds, 1, threads=1)
    return found


@pytest.mark.parametrize("repair", [least_squares, scale_shift])
@pytest.mark.parametrize("name", SAMPLES)
def test_errors_stay_in_sight_with_samples_that_hardly_vary(repair: Any, name: str) -> None:
    found = repaired(repair, SAMPLES[name])
    assert found.layers
    for layer in found.layers:
        assert math.isfinite(layer.before) and 0 <= layer.after <= layer.before
        assert layer.after < 10, layer  # it was 1e20 and more


def test_the_scale_is_the_first_that_says_something() -> None:
    assert meaningful(2.0, 3.0, 50.0, 60.0, 9) == 2.0  # as many samples have it
    assert meaningful(0.0, 3.0, 50.0, 60.0, 9) == 3.0  # held-out positions that are equal
    assert meaningful(0.0, 3.0, 50.0, 60.0, 1) == 50.0  # a single one has no variance
    assert meaningful(0.1, 3.0, 50.0, 60.0, 9) == 3.0  # held-out positions that are alike by chance
    assert meaningful(1e-9, 1e-9, 50.0, 60.0, 9) == 50.0  # constant
    assert meaningful(0.0, 0.0, 1e-9, 60.0, 9) == 60.0  # what is summed up cancels
    assert meaningful(0.0, 0.0, 0.0, 0.0, 9) > 0.0
    assert meaningful(-1e-12, -1e-12, 1.0, 1.0, 9) == 1.0  # a variance below 0 is rounding
    assert meaningful(2 * ROUNDING, 2 * ROUNDING, 1.0, 1.0, 9) == 2 * ROUNDING


def test_a_layer_with_a_variance_of_its_own_is_measured_by_it() -> None:
    x = RNG.standard_normal((500, 4)).astype(np.float32)
    weight = RNG.standard_normal((4, 3)).astype(np.float32)
    parts = []
    for rows in (x[:400], x[400:]):
        part = Moments.zero(4, 3)
        part.add(rows, rows @ weight)
        parts.append(part)
    split = Split(*parts)
    solution = np.concatenate([weight, np.zeros((1, 3))]).astype(np.float64)
    assert split.scale(solution) == pytest.approx(
        float((x[400:] @ weight).var(axis=0, dtype=np.float64).sum()), rel=1e-4
    )
    one = Moments.zero(4, 3)
    one.add(x[:1], x[:1] @ weight)
    everything = np.concatenate([x[:400], x[:1]]) @ weight
    assert Split(parts[0], one).scale(solution) == pytest.approx(
        float(np.square(everything, dtype=np.float64).mean(axis=0).sum()), rel=1e-4
    )
    assert parts[0].terms(solution) == pytest.approx(float((x[:400] ** 2 @ weight**2).sum() / 400), rel=1e-5)


@pytest.mark.parametrize(("repair", "scale"), [(least_squares, 1e30), (least_squares, 1e37), (scale_shift, 6e37)])
def test_samples_that_overflow_are_named_without_a_warning(repair: Any, scale: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ModelError, match="hold NaN or infinity") as caught:
            repaired(repair, X * np.float32(scale))
    assert "how they are normalised" in str(caught.value)
