"""How much the outputs suffer: where that is measured, what a trial gives, and the curve through the trials."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxprune.capture.sensitivity import Trial, judged, output_errors, rescaled
from onnxprune.capture.training import observer
from onnxprune.choose.curves import by_criterion, judged_curves, readers_of
from onnxprune.model.load import load
from onnxprune.trace import Trace, trace_model
from tests.builders import Net

Array = NDArray[Any]
Feeds = list[dict[str, Array]]
DIGITS = Path(__file__).resolve().parents[2] / "models"


@cache
def digits() -> Trace:
    return trace_model(load(DIGITS / "digits.onnx"))


def images(count: int = 60, size: int = 20) -> Feeds:
    found = np.load(DIGITS / "digits_calib.npz")["image"][:count]
    return [{"image": found[k : k + size]} for k in range(0, count, size)]


def traced(net: Net) -> Trace:
    return trace_model(load(net.model()))


# ---- where errors are measured ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("activation", ["Softmax", "Sigmoid", "LogSoftmax"])
def test_before_the_final_activation(activation: str) -> None:
    net = Net()
    h = net.relu(net.gemm(net.input(6), 8))
    logits = net.gemm(h, 4)
    net.output(net.op(activation, logits))
    assert judged(traced(net)) == [logits]


def test_before_parts_are_joined() -> None:
    """Boxes and classes are of unlike scale: each counts for itself."""
    net = Net()
    h = net.relu(net.stem())
    boxes, classes = net.conv(h, 4), net.conv(h, 10)
    net.output(net.concat(net.op("Exp", boxes), net.op("Sigmoid", classes)))
    assert set(judged(traced(net))) == {boxes, classes}


def test_with_the_shortcut_that_is_added() -> None:
    net = Net()
    a = net.relu(net.stem())
    total = net.add(net.conv(a, 8), a)
    net.output(net.relu(total))
    assert judged(traced(net)) == [total]


def test_without_a_constant_that_is_added() -> None:
    """That is a bias: it widens the spread of the outputs, to which errors are relative."""
    net = Net()
    product = net.matmul(net.relu(net.tokens()), 4)
    net.output(net.add(product, net.normal(4)))
    assert judged(traced(net)) == [product]


def test_every_output_counts_and_a_layer_only_once() -> None:
    net = Net()
    h = net.relu(net.stem())
    first, second = net.conv(h, 4), net.conv(h, 3)
    net.output(net.relu(first), net.op("Sigmoid", first), second)
    assert sorted(judged(traced(net))) == sorted([first, second])


# ---- trials ----------------------------------------------------------------------------------------------------------
def test_a_trial_that_changes_nothing_has_no_error() -> None:
    trials = [[Trial(0, {})], [], [Trial(0, {}), Trial(0, {})]]
    assert output_errors(digits(), trials, images()) == [[0.0], [], [0.0, 0.0]]


def test_the_error_is_relative_to_the_spread_of_the_outputs() -> None:
    """The last layer scaled: its outputs, and so their differences, by definition."""
    trace, feeds = digits(), images()
    (key,) = judged(trace)
    layer = trace.graph.nodes[trace.graph.producer[key]]
    weights = {name: trace.graph.constants[name].array() for name in layer.inputs[1:]}
    session = observer(trace.graph.model, [key])
    values = np.concatenate([session.run(None, feed)[0] for feed in feeds]).astype(np.float64)
    share = float((values**2).sum() / ((values - values.mean()) ** 2).sum())
    told: list[tuple[int, int]] = []
    trials = [[Trial(1, {k: w * np.float32(1 + f) for k, w in weights.items()}) for f in (0.1, -0.5)]]
    (found,) = output_errors(trace, trials, feeds, progress=lambda *step: told.append(step))
    assert found == pytest.approx([0.01 * share, 0.25 * share], rel=1e-3)
    assert told == [(1, 1)]


def test_trials_of_curves_have_lost_what_they_say() -> None:
    """Rows of units that have left are zero, in every reader; the more leave, the larger the error of the outputs."""
    trace, feeds = digits(), images()
    groups = [g for g in trace.prunable if g.size >= 16][:2]
    curves = judged_curves(trace, groups, by_criterion(groups, "obs"), feeds, shares=(0.25, 0.75))
    trials = []
    for group, curve, readers in zip(groups, curves, readers_of(trace, groups), strict=True):
        assert curve is not None
        assert [t.count for t in curve.trials] == [round(s * group.size) for s in (0.25, 0.75)]
        trials.append(curve.trials)
        for trial in curve.trials:
            gone = set(group.units[curve.removal.order[: trial.count]].tolist())
            for layer in readers:
                labels = trace.axes(layer.x)[1 if layer.kernel else -1]
                assert labels is not None
                out = np.isin(np.repeat(labels, layer.taps), sorted(gone))
                matrix = layer.matrix(trial.weights[layer.weight])
                assert out.any() and (matrix[out] == 0).all() and (matrix[~out] != 0).any()
    errors = output_errors(trace, trials, feeds)
    assert all(0 < few < many for few, many in errors)
    assert output_errors(trace, trials, feeds) == errors


# ---- the curve through the trials ------------------------------------------------------------------------------------
rising = st.lists(st.floats(1e-4, 1.0), min_size=3, max_size=20).map(lambda steps: np.cumsum([0.0, *steps]))


@st.composite
def measured_curves(draw: st.DrawFn) -> tuple[NDArray[np.float64], list[int], list[float]]:
    """A curve that rises, and at some of its counts what was measured there, which rises too."""
    errors = draw(rising)
    chosen = st.sets(st.integers(1, len(errors) - 1), min_size=1, max_size=4)
    counts = sorted(draw(chosen))
    steps = draw(st.lists(st.floats(1e-4, 3.0), min_size=len(counts), max_size=len(counts)))
    return errors, counts, np.cumsum(steps).tolist()


@given(measured_curves())
def test_the_curve_rises_and_goes_through_the_trials(case: tuple[NDArray[np.float64], list[int], list[float]]) -> None:
    errors, counts, measured = case
    found = rescaled(errors, counts, measured)
    assert found.shape == errors.shape and found[0] == 0 and np.isfinite(found).all()
    assert all(a <= b for a, b in pairwise(found))
    assert found[counts] == pytest.approx(measured, rel=1e-6)
    ends = [(k, counts[0]) for k in range(counts[0])] + [(k, counts[-1]) for k in range(counts[-1], len(errors))]
    for k, at in ends:
        assert found[k] == pytest.approx(found[at] * errors[k] / errors[at], rel=1e-6), "in proportion beyond them"


@given(rising, st.lists(st.floats(0, 5), min_size=2, max_size=2), st.data())
def test_measurements_that_fall_do_not_make_the_curve_fall(
    errors: NDArray[np.float64], measured: list[float], data: st.DataObject
) -> None:
    counts = sorted(data.draw(st.sets(st.integers(1, len(errors) - 1), min_size=2, max_size=2)))
    found = rescaled(errors, counts, measured)
    assert found[0] == 0 and all(0 <= a <= b for a, b in pairwise(found))


def test_what_costs_the_layer_nothing_costs_the_outputs_nothing() -> None:
    found = rescaled(np.array([0, 0, 0, 0.5, 1.0]), [3], [0.2])
    assert found.tolist() == pytest.approx([0, 0, 0, 0.2, 0.4])


def test_beyond_the_last_trial_the_curve_goes_on_from_the_largest_error() -> None:
    """Measurements that fall: what comes later is no better than what came before."""
    found = rescaled(np.array([0, 0.1, 0.2, 0.4]), [1, 2], [0.3, 0.1])
    assert found.tolist() == pytest.approx([0, 0.3, 0.3, 0.6])


def test_rounding_does_not_make_the_curve_fall() -> None:
    """Errors that differ in the last place: without care the one below a trial comes out above it."""
    near = [0.09568219960135825, 0.09568219960135833, 0.09568219960135838, 0.09568219960135838, 0.0956821996013584]
    errors = np.array([0.0, 1.320156067225494e-17, 5.495223826752603e-17, 8.478712140911219e-17, *near])
    found = rescaled(errors, [1, 5, 6], [0.0642637309748122, 0.745576404283461, 0.767283584447606])
    assert all(a <= b for a, b in pairwise(found))
