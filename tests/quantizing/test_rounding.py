"""Rounding by second moments: never worse than the nearest, whatever the moments are."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from onnxprune.capture.features import linear_layer
from onnxprune.model.graph import build
from onnxprune.model.grids import Grid
from onnxprune.model.load import load
from onnxprune.quantizing.rounding import CHUNK, Steps, losses, matrix_steps, ridge_of, rounded, steps_of
from onnxprune.quantizing.scales import searched
from tests.builders import Net

Array = np.ndarray[Any, Any]


def moments(features: int, positions: int, seed: int, power: float = 1.0) -> Array:
    """Of inputs that depend on each other; singular if there are few positions."""
    rng = np.random.default_rng(seed)
    mixed = rng.standard_normal((positions, features)) @ rng.standard_normal((features, features))
    x = mixed * np.exp(power * rng.standard_normal(features))
    return np.asarray(x.T @ x)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 9),
    st.integers(1, 60),
    st.sampled_from([TensorProto.UINT4, TensorProto.INT4, TensorProto.INT8, TensorProto.UINT8]),
    st.sampled_from([0, 16]),
    st.booleans(),
    st.integers(0, 3),
)
def test_never_worse_than_the_nearest(
    features: int, outputs: int, positions: int, dtype: int, block: int, ordered: bool, sweeps: int
) -> None:
    rng = np.random.default_rng(features * 100 + outputs)
    weight, gram = rng.standard_normal((features, outputs)), moments(features, positions, sweeps)
    grid = searched(weight, dtype, block=block, power=np.diagonal(gram))
    steps = matrix_steps(grid, weight.shape)
    found = rounded(weight, gram, steps, ordered=ordered, sweeps=sweeps)
    low, high = grid.bounds
    assert found.shape == weight.shape and found.dtype == np.int32
    assert low <= found.min() and found.max() <= high
    before = losses(weight, grid.rounded(weight), gram)
    assert (losses(weight, steps.values(found), gram) <= before * (1 + 1e-4) + 1e-6 * np.trace(gram)).all()


def test_what_it_gains() -> None:
    """Of inputs that are much alike most of the error goes; moving single integers takes more of it."""
    weight, gram = np.random.default_rng(0).standard_normal((200, 30)), moments(200, 400, 0)
    steps = matrix_steps(searched(weight, TensorProto.INT4, block=32), weight.shape)
    nearest = losses(weight, steps.values(steps.nearest(weight.astype(np.float32))), gram).sum()
    lost = [losses(weight, steps.values(rounded(weight, gram, steps, sweeps=n)), gram).sum() for n in range(3)]
    assert lost[0] < 0.3 * nearest
    assert lost[2] < lost[1] < lost[0]
    unordered = rounded(weight, gram, steps, ordered=False, sweeps=0)
    assert lost[0] < losses(weight, steps.values(unordered), gram).sum() < nearest


def test_near_the_best_there_is() -> None:
    """Of four features and integers from -1 to 1 all 81 can be tried."""
    rng = np.random.default_rng(1)
    weight, gram = rng.uniform(-1.2, 1.2, (4, 300)), moments(4, 9, 2, power=0.3)
    steps = Steps(np.float32([[1.0]]), np.float32([[0.0]]), -1, 1)
    every = np.array(list(itertools.product((-1, 0, 1), repeat=4)), np.float64)
    best = np.min([losses(weight, one[:, None], gram) for one in every], axis=0)
    found = losses(weight, steps.values(rounded(weight, gram, steps)), gram)
    assert (found >= best - 1e-9).all()
    assert found.sum() < 1.5 * best.sum()
    assert np.isclose(found, best).mean() > 0.5


@pytest.mark.parametrize("positions", [60, 150, 600, 3000])
def test_few_samples_do_not_make_it_worse_on_others(positions: int) -> None:
    rng = np.random.default_rng(5)
    weight = rng.standard_normal((150, 40))
    x, others = (np.maximum(rng.standard_normal((n, 150)), 0) for n in (positions, 5000))
    gram, judge = x.T @ x, others.T @ others
    steps = matrix_steps(searched(weight, TensorProto.UINT4, block=32, power=np.diagonal(gram)), weight.shape)
    nearest, bare, found = (
        losses(weight, steps.values(q), judge).sum()
        for q in (
            steps.nearest(weight.astype(np.float32)),
            rounded(weight, gram, steps),
            rounded(weight, gram, steps, ridge=ridge_of(150, positions)),
        )
    )
    assert found < 0.8 * nearest
    assert found < 1.001 * bare and (positions > 150 or bare > nearest)


def test_more_than_one_chunk_is_one_problem() -> None:
    features = CHUNK + 40
    weight, gram = (
        np.random.default_rng(3).standard_normal((features, 5)),
        moments(features, 3 * features, 3, power=0.2),
    )
    steps = matrix_steps(searched(weight, TensorProto.INT4, block=32), weight.shape)
    found = losses(weight, steps.values(rounded(weight, gram, steps)), gram)
    cut = gram.copy()
    cut[:CHUNK, CHUNK:] = cut[CHUNK:, :CHUNK] = 0.0  # as if chunks knew nothing of each other
    apart = losses(weight, steps.values(rounded(weight, cut, steps)), gram)
    assert found.sum() < 0.9 * apart.sum()


@pytest.mark.parametrize("gram", [None, np.zeros((3, 3)), np.full((3, 3), np.nan), np.full((3, 3), np.inf)])
def test_moments_that_say_nothing(gram: Array | None) -> None:
    weight = np.float32([[0.4], [1.6], [-9.0]])
    steps = Steps(np.float32([[1.0]]), np.float32([[0.0]]), -7, 7)
    assert rounded(weight, gram, steps).ravel().tolist() == [0, 2, -7]


def test_inputs_that_are_always_zero_are_rounded_to_the_nearest() -> None:
    gram = np.diag([4.0, 0.0, 1.0])
    steps = Steps(np.float32([[0.5]]), np.float32([[3.0]]), 0, 15)
    assert rounded(np.array([[0.9], [0.9], [-5.0]]), gram, steps).ravel().tolist() == [5, 5, 0]


def test_groups_are_problems_of_their_own() -> None:
    rng = np.random.default_rng(4)
    weight, gram = rng.standard_normal((3, 9, 2)), np.stack([moments(9, 20, n) for n in range(3)])
    scale = rng.uniform(0.1, 0.3, (3, 1, 2)).astype(np.float32)
    steps = Steps(scale, np.zeros((1, 1), np.float32), -8, 7)
    both = rounded(weight, gram, steps)
    for number in range(3):
        one = Steps(scale[number], np.zeros((1, 1), np.float32), -8, 7)
        assert (both[number] == rounded(weight[number], gram[number], one)).all()


def layers() -> Net:
    net = Net(seed=2)
    x = net.input(6, 5, 5, name="x")
    h = net.conv(x, 8, 3, group=2, name="grouped")
    h = net.transposed(h, 6, 2, group=2, name="transposed")
    h = net.op("GlobalAveragePool", h)
    h = net.op("Gemm", net.op("Flatten", h), net.normal(5, 6), transB=1, alpha=0.25, name="gemm")
    net.output(net.matmul(h, 7, name="product"))
    return net


@pytest.mark.parametrize(("name", "axis"), [("grouped", 0), ("transposed", 1), ("gemm", 0), ("product", 1)])
def test_grids_of_tensors_seen_as_matrices(name: str, axis: int) -> None:
    graph = build(load(layers().model()))
    node = next(node for node in graph.nodes if node.label == name)
    layer = linear_layer(graph, node)
    assert layer is not None
    weight = graph.constants[layer.weight].array()
    scale = np.linspace(0.01, 0.2, weight.shape[axis], dtype=np.float32)
    grid = Grid(TensorProto.INT8, scale, np.arange(len(scale)).astype(np.int8), axis)
    steps = steps_of(grid, layer, weight.shape)
    matrix = layer.matrix(weight) / layer.alpha
    found = layer.unmatrix(steps.nearest(matrix.astype(np.float32)) * layer.alpha, weight.shape)
    assert (found == grid.integers(weight)).all()
