"""What each weight alone costs."""

from __future__ import annotations

import numpy as np
import pytest

from onnxprune.capture.samples import Samples, open_samples
from onnxprune.model.load import load
from onnxprune.quantizing.weights import WeightRequest, weights_only
from onnxprune.quantizing.weights.sensitivity import relative, sensitivities
from onnxprune.trace import trace_model
from onnxprune.trace.groups import Trace
from tests.builders import Net
from tests.oracle import session


@pytest.fixture(scope="module")
def chain() -> tuple[Trace, Samples]:
    """Three products; the second has one outlier in every block of its weight."""
    net = Net(seed=0)
    h = net.relu(net.matmul(net.input(64, name="x"), 64, name="first"))
    weight = net.normal(64, 64)
    weight[::16] *= 40
    h = net.relu(net.op("MatMul", h, weight, name="second"))
    net.output(net.matmul(h, 32, name="third"))
    trace = trace_model(load(net.model()))
    x = np.random.default_rng(1).standard_normal((100, 64)).astype(np.float32)
    return trace, open_samples({"x": x}, trace)


@pytest.mark.parametrize("kind", ["int4", "int8", "dynamic"])
def test_one_at_a_time(chain: tuple[Trace, Samples], kind: str) -> None:
    trace, samples = chain
    request = WeightRequest(kind=kind, rounding="nearest", accuracy_level=1)
    seen = []
    found = sensitivities(trace, samples, request, progress=lambda done, of: seen.append((done, of)))
    assert list(found) == ["first", "second", "third"] and seen == [(1, 3), (2, 3), (3, 3)]
    feed = samples.few(trace.graph.model, 8)
    wanted = session(trace.graph.model.complete_proto()).run(None, dict(feed))
    for name, lost in found.items():
        others = {other: "float" for other in found if other != name}
        alone = weights_only(trace, samples, WeightRequest(kind, accuracy_level=1, rounding="nearest", chosen=others))
        measured = relative(session(alone.twin.complete_proto()).run(None, dict(feed)), wanted)
        assert lost == pytest.approx(measured, rel=1e-3)
    everything = weights_only(trace, samples, request)
    together = relative(session(everything.twin.complete_proto()).run(None, dict(feed)), wanted)
    assert 0.4 * together < sum(found.values()) < 2.5 * together


def test_what_stays_is_not_asked(chain: tuple[Trace, Samples]) -> None:
    trace, samples = chain
    found = sensitivities(trace, samples, WeightRequest(kept={"second": "excluded"}))
    assert list(found) == ["first", "third"]


def test_relative_errors() -> None:
    goal = [np.float32([1, 3]), np.int64([5, 6]), np.float32([])]
    assert relative([np.float32([1, 4]), np.int64([9, 9]), np.float32([])], goal) == pytest.approx(0.5)
    assert relative([], []) == 0.0
