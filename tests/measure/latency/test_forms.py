"""Layers as files have them: timed with integers as well, and the faster of both counts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from onnxprune.measure.latency.form import Form
from onnxprune.measure.latency.layers import Signature, Widths, in_integers
from onnxprune.measure.latency.meter import Meter
from onnxprune.measure.latency.network import Network, Profile
from onnxprune.measure.latency.runtime import layer_times
from onnxprune.measure.latency.table import Table
from onnxprune.measure.timing import Floats
from onnxprune.model.load import Model, load
from onnxprune.trace import Trace, trace_model

DIGITS = Path(__file__).resolve().parents[3] / "models" / "digits.onnx"
FLOAT = 1


def steps(signature: Signature, points: Sequence[Widths]) -> Floats:
    """Integers gain only where layers are wide: they take as long as eight inputs at least."""
    least = 8 if signature.integers else 1
    factor = 0.25 if signature.integers else 1.0
    return np.array([1e-6 + 1e-8 * factor * max(k, least) * max(n, least) * blocks for k, n, blocks in points])


def cost(trace: Trace, share: float, integers: frozenset[str]) -> float:
    found = Network(trace, trace.facts, Table(steps), Profile(0.01, {"Conv": 0.01}, 0), integers)
    keep = np.ones(trace.unit_count, bool)
    for group in trace.prunable:
        keep[group.units[: int(share * group.size)]] = False
    return found.cost(keep)


def test_narrow_layers_gain_nothing_from_integers() -> None:
    """Of two tables the faster one counts at each width, so that a cut saves less of what integers have saved."""
    trace = trace_model(load(DIGITS))
    weights = frozenset(node.inputs[1] for node in trace.graph.nodes if node.op_type == "Conv")
    floats, both = (cost(trace, 0.9, some) / cost(trace, 0.0, some) for some in (frozenset[str](), weights))
    assert both > floats


@pytest.mark.parametrize(
    ("kind", "points"),
    [
        (Signature("Conv", (), (1, 8, 8), (3, 3), True, True, "Relu", FLOAT), [(8, 16, 1), (3, 5, 1)]),
        (Signature("Conv", (), (1, 8, 8), (3, 3), True, True, "", FLOAT), [(1, 1, 8), (1, 1, 3)]),
        (Signature("Gemm", (), (4,), (), True, True, "", FLOAT), [(16, 32, 1), (5, 3, 1)]),
        (Signature("MatMul", (), (4,), (), False, True, "", FLOAT), [(16, 32, 1)]),
        (Signature("MatMul", (), (4,), (), False, False, "", FLOAT), [(16, 32, 6)]),
    ],
)
def test_layers_of_bytes_run_alone(kind: Signature, points: list[Widths]) -> None:
    """No time is asserted, but that the runtime's profile names what was asked for."""
    there = in_integers(kind)
    assert there.integers and (layer_times(there, points, 1) > 0).all()


def test_what_has_no_kernel_of_bytes_stays() -> None:
    kind = Signature("ConvTranspose", (), (1, 8, 8), (3, 3), True, True, "", FLOAT)
    assert in_integers(kind) == kind


def test_candidates_are_run_as_files_have_them() -> None:
    """The original as it is, its candidates as they are written."""
    trace = trace_model(load(DIGITS))
    seen: list[Model] = []

    def written(model: Model) -> Model:
        seen.append(model)
        return model

    meter = Meter(trace, {"image": np.zeros((1, 1, 8, 8), np.float32)}, 1, form=Form(written, frozenset()))
    assert meter.before > 0 and not seen
    assert meter.profile.whole > 0 and seen == [trace.graph.model]
    ratio, _ = meter.against_original(trace.graph.model)
    assert ratio > 0 and len(seen) == 2
