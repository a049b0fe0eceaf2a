"""Sparse integer operators against the quantised operators of ONNX Runtime, with the library and without."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from onnxprune.model.load import load
from onnxprune.sparse import Mask, Pattern, rewrite
from tests.sparse.layers import TOLERANCE, error
from tests.sparse.quantized import QUANTIZED, QuantizedCase
from tests.sparse.sessions import needs_library, quantized_pair, session


def step_of(case: QuantizedCase, dense: ModelProto) -> float:
    """What the output may differ by: rounding of one step where it is quantised, nearly nothing otherwise."""
    steps = {entry.name: onnx.numpy_helper.to_array(entry) for entry in dense.graph.initializer}
    return float(steps["ys"]) * 1.001 if case.spelling in ("qdq", "qlinear") else 0.0


def check(case: QuantizedCase) -> None:
    sparse, dense = quantized_pair(case)
    feed = case.feed()
    expected = session(dense, library=False).run(None, feed)[0]
    step = step_of(case, dense)
    for library in (True, False):
        found = session(sparse, library=library, threads=2).run(None, feed)[0]
        if step:
            assert found.shape == expected.shape
            assert np.abs(found - expected).max() <= step
            assert np.mean(found != expected) < 0.01  # ties and the order of factors, nothing else
        else:
            assert error(found, expected) <= TOLERANCE


@needs_library
@pytest.mark.parametrize("name", QUANTIZED)
def test_grid(name: str) -> None:
    check(QUANTIZED[name])


@needs_library
@pytest.mark.parametrize("isa", ["base", "avx2", "avx512"])
def test_grid_with_lesser_instruction_sets(isa: str) -> None:
    code = (
        "from tests.sparse.quantized import QUANTIZED; from tests.sparse.test_quantized import check\n"
        "for case in QUANTIZED.values(): check(case)\n"
    )
    environment = {**os.environ, "ONNXPRUNE_ISA": isa}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@needs_library
@pytest.mark.parametrize("seed", range(12))
def test_random_layers(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel = tuple(int(v) for v in rng.integers(1, 4, 2))
    attributes = {
        "strides": [int(v) for v in rng.integers(1, 3, 2)],
        "pads": [int(v) for v in rng.integers(0, 3, 4)],
        "dilations": [int(v) for v in rng.integers(1, 3, 2)],
    }
    depth, count = int(rng.integers(1, 30)), int(rng.integers(1, 30))
    shape = (int(rng.integers(1, 3)), depth, *(int(v) for v in rng.integers(6, 30, 2)))
    case = QuantizedCase(
        "qlinear", shape, (count, depth, *kernel), int(rng.choice([1, 2, 4])), 0.7, True, seed % 2 == 0
    )
    check(replace(case, attributes=attributes, seed=seed))


@pytest.mark.parametrize("opset", [19, 21])
def test_the_functions_are_valid_and_mean_the_same_to_the_reference_of_onnx(opset: int) -> None:
    for name in ("odd", "uneven tokens", "gemm"):
        case = QUANTIZED[name]
        sparse, dense = quantized_pair(case, opset)
        onnx.checker.check_model(sparse, full_check=True)
        found = ReferenceEvaluator(sparse).run(None, case.feed())[0]
        expected = session(dense, library=False).run(None, case.feed())[0]
        assert error(found, expected) <= max(TOLERANCE, step_of(case, dense) / np.abs(expected).max())


def test_what_is_not_understood_stays_with_a_reason() -> None:
    model = QUANTIZED["pointwise"].model()
    for entry in model.graph.initializer:
        if entry.name == "wz":
            entry.CopyFrom(onnx.numpy_helper.from_array(np.full(48, 3, np.int8), "wz"))
    done = rewrite(load(model), {"w": Mask(QUANTIZED["pointwise"].keep(), Pattern(4, 4))})
    assert dict(done.declined) == {"layer": "the zero point of its weight is not 0"}
    assert not done.operators
