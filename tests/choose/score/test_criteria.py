"""Every criterion against a slow reference, and the laws that all of them share."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxprune.choose.score import FloatArray, Layer, criteria, get
from onnxprune.errors import ModelError

NAMES = [entry.name for entry in criteria()]
DETERMINED = [name for name in NAMES if name != "random"]
ZERO_IS_LEAST = ["l1", "l2", "bn-scale", "similarity", "filter-sketch"]


def normal(n: int, features: int, seed: int = 0) -> FloatArray:
    return np.random.default_rng(seed).standard_normal((n, features))


def score(name: str, filters: NDArray[Any], scale: NDArray[Any] | None = None, seed: int = 0) -> FloatArray:
    return get(name)(Layer("layer", filters, scale, seed))


def reference_similarity(w: FloatArray) -> FloatArray:
    norm = np.linalg.norm(w, axis=1)
    scores = np.where(norm > 0, 2.0, 0.0)
    left = [i for i in range(len(w)) if norm[i] > 0]
    while len(left) > 1:
        pairs = [(1 - w[i] @ w[j] / norm[i] / norm[j], i, j) for i in left for j in left if i < j]
        least, i, j = min(pairs)
        weaker = i if norm[i] < norm[j] else j
        scores[weaker] = max(least, 0.0)
        left.remove(weaker)
    return scores


def reference_sketch(w: FloatArray) -> FloatArray:
    """One shrink is all that Frequent Directions does up to 256 filters."""
    _, s, vt = np.linalg.svd(w, full_matrices=False)
    size = min(-(-min(w.shape) // 2), 128)
    square = s[:size] ** 2 - (s[size] ** 2 if len(s) > size else 0.0)
    rest = (np.sum(w * w) - square.sum()) / size
    alive = square > 1e-12 * s[0] ** 2
    scores: FloatArray = ((w @ vt[:size].T)[:, alive] ** 2 / (square[alive] + rest)).sum(axis=1)
    return scores


REFERENCES = {
    "l1": lambda w: np.abs(w).sum(axis=1),
    "l2": lambda w: np.linalg.norm(w, axis=1),
    "bn-scale": lambda w: np.linalg.norm(w, axis=1),
    "geometric-median": lambda w: np.linalg.norm(w[:, None] - w[None], axis=2).sum(axis=1),
    "similarity": reference_similarity,
    "filter-sketch": reference_sketch,
}


def test_every_determined_criterion_has_a_reference() -> None:
    assert sorted(REFERENCES) == sorted(DETERMINED)


@pytest.mark.parametrize("name", DETERMINED)
@pytest.mark.parametrize("shape", [(1, 5), (2, 3), (7, 4), (12, 30), (40, 9)])
def test_matches_reference(name: str, shape: tuple[int, int]) -> None:
    w = normal(*shape)
    np.testing.assert_allclose(score(name, w), REFERENCES[name](w), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["l1", "l2", "bn-scale", "geometric-median"])
@pytest.mark.parametrize("shape", [(530, 3), (3, 70_000)])
def test_matches_reference_over_several_blocks(name: str, shape: tuple[int, int]) -> None:
    w = normal(*shape)
    np.testing.assert_allclose(score(name, w), REFERENCES[name](w), rtol=1e-6, atol=1e-6)


def test_similarity_over_several_tiles_leaves_the_order_of_the_dense_greedy() -> None:
    w = normal(600, 40)
    norm = np.linalg.norm(w, axis=1)
    distance = 1 - (w @ w.T) / norm[:, None] / norm[None]
    distance[norm[:, None] > norm[None]] = np.inf  # row: the weaker of the pair
    np.fill_diagonal(distance, np.inf)
    expected = np.full(600, 2.0)
    for _ in range(599):
        weaker = int(distance.min(axis=1).argmin())
        expected[weaker] = distance[weaker].min()
        distance[weaker], distance[:, weaker] = np.inf, np.inf
    np.testing.assert_allclose(score("similarity", w), expected, atol=1e-6)


@pytest.mark.parametrize("name", DETERMINED)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 9), features=st.integers(1, 12))
def test_permuted_filters_permute_the_scores(name: str, seed: int, n: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    w = rng.standard_normal((n, features)).astype(np.float32)
    order = rng.permutation(n)
    np.testing.assert_allclose(score(name, w[order]), score(name, w)[order], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", DETERMINED)
def test_wide_permutation_is_exact_through_every_tile(name: str) -> None:
    w = normal(700, 50).astype(np.float32)
    order = np.random.default_rng(1).permutation(700)
    np.testing.assert_array_equal(score(name, w[order]), score(name, w)[order])


@pytest.mark.parametrize("name", [name for name in DETERMINED if name != "similarity"])
def test_equal_filters_score_exactly_the_same(name: str) -> None:
    w = normal(600, 33).astype(np.float32)
    w[[3, 400, 599]] = w[77]
    scores = score(name, w)
    assert len({scores[i] for i in (3, 77, 400, 599)}) == 1


@pytest.mark.parametrize("name", ZERO_IS_LEAST)
@given(seed=st.integers(0, 10_000), zeros=st.integers(1, 4))
def test_zero_filters_are_the_least(name: str, seed: int, zeros: int) -> None:
    w = normal(9, 6, seed)
    planted = np.random.default_rng(seed).choice(9, zeros, replace=False)
    w[planted] = 0.0
    w[planted[0]] = -0.0
    scores = score(name, w)
    np.testing.assert_array_equal(scores[planted], 0.0)
    assert np.delete(scores, planted).min() > 0.0


@pytest.mark.parametrize("name", DETERMINED)
def test_all_zero_layer_scores_zero(name: str) -> None:
    np.testing.assert_array_equal(score(name, np.zeros((5, 4), np.float32)), 0.0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (0, 0)])
def test_empty_layers(name: str, shape: tuple[int, int]) -> None:
    assert score(name, np.zeros(shape, np.float32)).shape == shape[:1]


@pytest.mark.parametrize("name", DETERMINED)
@pytest.mark.parametrize(
    "dtype",
    [
        np.float16,
        ml_dtypes.bfloat16,
        np.float32,
        np.float64,
        np.int8,
        np.uint8,
        np.int32,
        ml_dtypes.int4,
        ml_dtypes.float8_e4m3fn,
    ],
    ids=lambda dtype: np.dtype(dtype).name,
)
def test_every_stored_type_scores_like_its_values(name: str, dtype: type) -> None:
    w: NDArray[Any] = np.random.default_rng(0).integers(0, 7, (6, 5)).astype(dtype)
    np.testing.assert_allclose(score(name, w), score(name, w.astype(np.float64)))


def test_signed_extremes_do_not_wrap() -> None:
    np.testing.assert_array_equal(score("l1", np.full((2, 3), -128, np.int8)), 384.0)
    np.testing.assert_array_equal(score("l1", np.full((1, 4), 6e4, np.float16)), [4 * float(np.float16(6e4))])


@pytest.mark.parametrize("name", DETERMINED)
def test_views_and_read_only_weights_score_alike_and_stay_as_they_were(name: str) -> None:
    w = normal(8, 6).astype(np.float32)
    before = w.copy()
    transposed = np.asfortranarray(w)
    w.flags.writeable = False
    np.testing.assert_allclose(score(name, transposed), score(name, w), rtol=1e-12)
    np.testing.assert_array_equal(w, before)


@pytest.mark.parametrize("name", DETERMINED)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(name: str, bad: float) -> None:
    w = normal(4, 3).astype(np.float32)
    w[2, 1] = bad
    with pytest.raises(ModelError, match=r"'layer' hold NaN or infinity"):
        score(name, w)


def test_weights_without_magnitude_are_refused() -> None:
    with pytest.raises(ModelError, match="'layer' have type complex64"):
        score("l1", np.ones((2, 2), np.complex64))


def test_overflow_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="l2 score of 'layer' is not finite in 1 of 2"):
        score("l2", np.array([[1e200], [1.0]]))


def test_bn_scale_is_the_size_of_gamma() -> None:
    gamma = np.array([0.5, -2.0, 0.0], np.float32)
    np.testing.assert_array_equal(score("bn-scale", normal(3, 4), gamma), [0.5, 2.0, 0.0])
    with pytest.raises(ModelError, match="batch normalisation scales of 'layer'"):
        score("bn-scale", normal(1, 4), np.array([np.nan]))


def test_geometric_median_of_near_copies_far_from_zero() -> None:
    w = 1000.0 + 1e-3 * normal(6, 20)
    np.testing.assert_allclose(score("geometric-median", w), REFERENCES["geometric-median"](w), rtol=1e-3)


def test_geometric_median_prefers_to_remove_the_middle() -> None:
    assert score("geometric-median", np.array([[-3.0], [0.0], [1.0], [4.0]])).tolist() == [14.0, 8.0, 8.0, 14.0]


def test_of_two_alike_only_one_is_redundant() -> None:
    w = normal(8, 20)
    w[5] = w[2]
    scores = score("similarity", w)
    assert scores[5] == 0.0
    assert scores[2] > 0.3
    assert (scores == 0.0).sum() == 1


def test_of_two_parallel_the_weaker_is_redundant_and_opposite_ones_are_not() -> None:
    w = normal(4, 20)
    w[1] = 0.5 * w[3]
    w[2] = -w[0]
    scores = score("similarity", w)
    assert scores[1] == 0.0
    assert scores[3] > 0.3
    assert min(scores[0], scores[2]) > 0.3


def test_similarity_thins_a_chain_instead_of_collapsing_it() -> None:
    """Each filter of a fan is near the next one, but the first is far from the last: every second one goes first."""
    angle = np.linspace(0.0, np.pi / 2, 9)
    strength = np.array([3, 1, 3, 1, 3, 1, 3, 1, 3])[:, None]
    scores = score("similarity", strength * np.stack([np.cos(angle), np.sin(angle)], axis=1))
    assert scores[1::2].max() < scores[0::2].min()


def test_sketch_tells_what_is_shared_from_what_is_unique() -> None:
    w = np.zeros((4, 6))
    w[0, 0], w[1, 1], w[2, 1], w[3, 1] = 1.0, 1.0, 1.0, 1.0
    np.testing.assert_allclose(score("filter-sketch", w), [1.0, 1 / 3, 1 / 3, 1 / 3], atol=1e-9)


def test_sketch_of_many_filters_agrees_with_one_singular_value_decomposition() -> None:
    """Frequent Directions over several appends of rows still sees the directions that matter."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((1000, 60)) * 0.9 ** np.arange(60) * rng.gamma(2.0, size=(1000, 1))
    assert np.corrcoef(score("filter-sketch", w), reference_sketch(w))[0, 1] > 0.95


def test_sketch_does_not_count_noise_in_full() -> None:
    """More filters than features: the sketch could hold every direction, and must not care for the empty ones."""
    w = 1e-3 * normal(40, 8)
    w[:20, :4] += normal(20, 4, seed=1)
    scores = score("filter-sketch", w)
    assert scores[20:].max() < scores[:20].min()


def test_random_follows_the_seed_only() -> None:
    first = score("random", normal(50, 3), seed=7)
    np.testing.assert_array_equal(first, score("random", normal(50, 9, seed=1), seed=7))
    assert not np.array_equal(first, score("random", normal(50, 3), seed=8))
    assert first.min() >= 0.0
    assert first.max() < 1.0
