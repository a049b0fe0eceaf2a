"""Adam against its paper, written out in float64, and what a step means."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.repair.adam import SMALLEST, Adam, Tensor

Float = NDArray[np.float64]


def plain(start: Tensor, gradients: list[Tensor], rate: float, steps: int) -> Float:
    """Algorithm 1 of Kingma & Ba with beta_2 = 0.99, a warm-up of ten steps and a half cosine."""
    value = start.astype(np.float64)
    size = max(math.sqrt(float((value**2).mean())), 1e-3)
    m, v = np.zeros_like(value), np.zeros_like(value)
    for t, gradient in enumerate(gradients, start=1):
        g = gradient.astype(np.float64)
        m = 0.9 * m + 0.1 * g
        v = 0.99 * v + 0.01 * g**2
        alpha = rate * size * min(1, t / 10) * (1 + math.cos(math.pi * t / steps)) / 2
        value = value - alpha * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.99**t)) + 1e-12)
    return value


def test_it_is_the_algorithm_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    tensors = [rng.standard_normal(shape).astype(np.float32) * 3 for shape in ((4, 3), (5,), (2, 2, 2))]
    gradients = [[rng.standard_normal(t.shape).astype(np.float32) for t in tensors] for _ in range(30)]
    wanted = [plain(t, [g[k] for g in gradients], 0.01, 40) for k, t in enumerate(tensors)]
    before = [t.copy() for t in tensors]
    adam = Adam(tensors, 0.01, 40)
    for found in gradients:
        adam.step(found)
    for start, value, goal in zip(before, tensors, wanted, strict=True):
        np.testing.assert_allclose(value, goal, rtol=1e-5, atol=1e-6)
        assert np.abs(value - start).max() > 0.01, "and it moved"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_step_is_relative_to_the_tensor_and_not_to_the_gradient(scale: float) -> None:
    """In the first step every element moves by rate * size, warmed up, whatever the size of its gradient."""
    tensor = np.array([3.0, -4.0], np.float32)
    size = math.sqrt(12.5)
    Adam([tensor], 0.1, 1_000_000).step([np.array([1.0, -2.0], np.float32) * np.float32(scale)])
    np.testing.assert_allclose(tensor, [3 - 0.01 * size, -4 + 0.01 * size], rtol=1e-5)


def test_tensors_of_zeros_can_move() -> None:
    tensor = np.zeros(3, np.float32)
    Adam([tensor], 0.1, 1_000_000).step([np.ones(3, np.float32)])
    np.testing.assert_allclose(tensor, -0.01 * SMALLEST, rtol=1e-5)


def test_no_gradient_no_move() -> None:
    tensor = np.arange(4, dtype=np.float32)
    adam = Adam([tensor], 0.1, 20)
    for _ in range(20):
        adam.step([np.zeros(4, np.float32)])
    assert tensor.tolist() == [0, 1, 2, 3]


def test_it_finds_a_minimum() -> None:
    """|A w - b|^2 with condition number 100."""
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    matrix = (basis * np.logspace(0, -1, 6)).astype(np.float32)
    goal = rng.standard_normal(6).astype(np.float32)
    weight = np.ones(6, np.float32)
    adam = Adam([weight], 0.1, 2000)
    for _ in range(2000):
        adam.step([2 * matrix.T @ (matrix @ weight - matrix @ goal)])
    np.testing.assert_allclose(weight, goal, atol=1e-2)
