"""Every sparse operator against the dense operators of ONNX Runtime, with the library and without."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from onnxprune import native
from onnxprune.errors import ModelError
from onnxprune.model.load import load
from onnxprune.sparse import Mask, Pattern, rewrite
from tests.sparse.layers import GRID, OLD, TOLERANCE, Case, conv, error
from tests.sparse.sessions import needs_library, pair, session


@needs_library
@pytest.mark.parametrize("name", GRID)
def test_grid(name: str) -> None:
    check(GRID[name])
    assert name in ("no tokens", "all zero") or np.ptp(expected_of(GRID[name])) > 0  # something was compared


def expected_of(case: Case) -> NDArray[np.float32]:
    return np.asarray(session(pair(case)[1], library=False).run(None, case.feed())[0])


def check(case: Case, threads: int = 2) -> None:
    sparse, dense = pair(case)
    feed = case.feed()
    expected = session(dense, library=False).run(None, feed)[0]
    assert error(session(sparse, library=True, threads=threads).run(None, feed)[0], expected) <= TOLERANCE
    assert error(session(sparse, library=False).run(None, feed)[0], expected) <= TOLERANCE


@needs_library
@pytest.mark.parametrize("isa", ["base", "avx2", "avx512"])
def test_grid_with_lesser_instruction_sets(isa: str) -> None:
    """A process uses one instruction set: another process for each."""
    known = ["base", "neon", "avx2", "avx512"]
    code = (
        "from onnxprune import native; from tests.sparse.layers import GRID\n"
        "from tests.sparse.test_operators import check\n"
        f"assert native.instruction_set() in {known[: known.index(isa) + 1 + (isa == 'base')]}\n"
        "for case in GRID.values(): check(case)\n"
    )
    environment = {**os.environ, "ONNXPRUNE_ISA": isa}
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    size = st.integers(1, 12)
    kernel = [draw(st.integers(1, 4)), draw(st.integers(1, 4))]
    strides = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    dilations = [draw(st.integers(1, 3)), draw(st.integers(1, 3))]
    pads = [draw(st.integers(0, 3)) for _ in range(4)]
    group = draw(st.sampled_from([1, 1, 1, 2]))
    rows = draw(st.sampled_from([1, 2, 4, 8]))
    height, width = (
        max(draw(st.integers(1, 40)), (kernel[i] - 1) * dilations[i] + 1 - pads[i] - pads[i + 2]) for i in (0, 1)
    )
    depth, count = draw(size), draw(st.integers(1, 40))
    if group == 2:  # in groups, blocks that do not fit are stored as single weights
        count *= 2
    return Case(
        "conv",
        (draw(st.integers(1, 3)), depth * group, height, width),
        (count, depth, *kernel),
        rows,
        draw(st.sampled_from([0.3, 0.8, 0.95])),
        {"strides": strides, "dilations": dilations, "pads": pads, "group": group},
        draw(st.booleans()),
        draw(st.sampled_from(["", "Relu", "Clip"])),
        draw(st.integers(0, 99)),
    )


@st.composite
def products(draw: st.DrawFn) -> Case:
    tokens = draw(st.lists(st.integers(1, 12), min_size=1, max_size=3))
    depth, count = draw(st.integers(1, 600)), draw(st.integers(1, 60))
    rows = draw(st.sampled_from([1, 2, 4, 8]))
    activation = draw(st.sampled_from(["", "Relu", "Clip"]))
    return Case("matmul", (*tokens, depth), (count, depth), rows, 0.8, activation=activation)


@needs_library
@settings(max_examples=120, deadline=None, derandomize=True)
@given(convolutions())
def test_convolutions(case: Case) -> None:
    check(case)


@needs_library
@settings(max_examples=50, deadline=None, derandomize=True)
@given(products())
def test_products(case: Case) -> None:
    check(case)


@needs_library
def test_runs_at_the_same_time_do_not_mix() -> None:
    case = conv("1x32x20x20", "64x32x3x3", pads=[1, 1, 1, 1], activation="Relu")
    sparse, dense = pair(case)
    shared = session(sparse, library=True, threads=2)
    feeds = [case.feed(seed) for seed in range(8)]
    expected = [session(dense, library=False).run(None, feed)[0] for feed in feeds]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda feed: shared.run(None, feed)[0], feeds * 8))
    for i, result in enumerate(found):
        assert error(result, expected[i % 8]) <= TOLERANCE


@needs_library
def test_the_size_of_the_input_may_change_between_runs() -> None:
    case = conv("1x8x20x20", "16x8x3x3", pads=[1, 1, 1, 1], strides=[2, 2])
    sparse, dense = pair(case)
    for model in (sparse, dense):
        for value in (*model.graph.input, *model.graph.output):
            for axis in (0, 2, 3):
                value.type.tensor_type.shape.dim[axis].dim_param = f"{value.name}{axis}"
    ours, theirs = session(sparse, library=True), session(dense, library=False)
    for shape in ((1, 8, 20, 20), (2, 8, 7, 31), (1, 8, 20, 20), (3, 8, 1, 1)):
        feed = {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}
        assert error(ours.run(None, feed)[0], theirs.run(None, feed)[0]) <= TOLERANCE


@needs_library
def test_nan_and_infinity_reach_the_output() -> None:
    case = conv("1x8x9x9", "16x8x1x1", 1, sparsity=0.0)
    sparse, _ = pair(case)
    feed = case.feed()
    feed["x"][0, :, 2, 3] = np.nan
    feed["x"][0, :, 4, 5] = np.inf
    found = session(sparse, library=True).run(None, feed)[0]
    assert np.isnan(found[0, :, 2, 3]).all()
    assert not np.isfinite(found[0, :, 4, 5]).any()
    assert np.isfinite(np.delete(found.reshape(16, 81), (21, 41), axis=1)).all()


@needs_library
def test_the_kernel_takes_precedence_over_the_function() -> None:
    """With a function that is wrong on purpose, the results tell which of the two ran."""
    sparse, dense = pair(GRID["three"])
    for node in sparse.functions[0].node:
        if node.op_type == "Conv":
            node.output[0] = "right"
    sparse.functions[0].node.append(onnx.helper.make_node("Neg", ["right"], ["y"]))
    feed = GRID["three"].feed()
    expected = session(dense, library=False).run(None, feed)[0]
    assert error(session(sparse, library=True).run(None, feed)[0], expected) <= TOLERANCE
    assert error(session(sparse, library=False).run(None, feed)[0], -expected) <= TOLERANCE


@needs_library
@pytest.mark.parametrize("opset", range(9, 27))  # what ONNX Runtime 1.31 runs
def test_all_opsets(opset: int, tmp_path: Path) -> None:
    for name in OLD:
        sparse, dense = pair(GRID[name], opset)
        assert sparse.opset_import[0].version == dense.opset_import[0].version == opset
        onnx.checker.check_model(sparse, full_check=True)
        feed = GRID[name].feed()
        expected = session(dense, library=False).run(None, feed)[0]
        for library in (True, False):
            assert error(session(sparse, library=library).run(None, feed)[0], expected) <= TOLERANCE, (name, library)
        operators = left_of(sparse, tmp_path)
        assert operators & {"Conv", "FusedConv", "MatMul", "Gemm"} and operators <= DENSE, operators


DENSE = {"Conv", "FusedConv", "MatMul", "Gemm", "Add", "Relu", "Clip", "Reshape", "ReorderInput", "ReorderOutput"}


def left_of(model: onnx.ModelProto, folder: Path) -> set[str]:
    """The operators that a session without the library is left with: the dense weight is computed when it is made."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node}


def test_files_from_before_initializers_were_apart_from_inputs() -> None:
    """Of IR version 3; as the file gets a newer one, its weights must not become overridable, which would be slow."""
    case = GRID["three"]
    dense = case.model(9)
    dense.ir_version = 3
    dense.graph.input.extend(
        onnx.helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in dense.graph.initializer
    )
    onnx.checker.check_model(dense)
    done = rewrite(load(dense), {"w": Mask(case.keep(), Pattern(case.rows))})
    sparse = done.model.complete_proto()
    assert list(done.operators) == ["layer"] and sparse.ir_version == 8
    assert [value.name for value in sparse.graph.input] == ["x"]
    feed = case.feed()
    expected = session(pair(case)[1], library=False).run(None, feed)[0]
    assert error(session(sparse, library=False).run(None, feed)[0], expected) <= TOLERANCE


def test_opsets_without_words_for_it_are_refused() -> None:
    case = GRID["three"]
    with pytest.raises(ModelError, match="opset 9 or newer; the model has 8"):
        rewrite(load(case.model(8)), {"w": Mask(case.keep(), Pattern(case.rows))})


@pytest.mark.parametrize("opset", [12, 13, 17, 18, 21, 24])  # its evaluator knows no references in Constant-11
def test_the_functions_are_valid_and_mean_the_same_to_the_reference_of_onnx(opset: int) -> None:
    for name in ("three strided", "incomplete block", "seventeen tokens", "one axis"):
        sparse, dense = pair(GRID[name], opset)
        onnx.checker.check_model(sparse, full_check=True)
        feed = GRID[name].feed()
        expected = session(dense, library=False).run(None, feed)[0]
        assert error(ReferenceEvaluator(sparse).run(None, feed)[0], expected) <= TOLERANCE


def test_register_says_whether_the_library_is_there() -> None:
    assert native.register(onnxruntime.SessionOptions()) == (native.library_path() is not None)
    assert (native.problem() is None) == (native.instruction_set() is not None)
