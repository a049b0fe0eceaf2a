"""Variations of samples: images stay images, everything else stays as it is."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxprune.repair.augment import LEAST, SHIFT, varied

Array = NDArray[Any]


def pictures(*shape: int, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(dtype)


def variations(array: Array, count: int = 20) -> list[Array]:
    rng = np.random.default_rng(0)
    return [varied({"x": array}, rng)["x"] for _ in range(count)]


sides = st.integers(LEAST, 40)


@given(st.integers(1, 3), st.integers(1, 4), sides, sides, st.booleans(), st.integers(0, 99))
def test_pixels_stay_in_their_image_and_channel(n: int, c: int, h: int, w: int, last: bool, seed: int) -> None:
    array = pictures(n, c, h, w)
    given_ = np.moveaxis(array, 1, -1) if last else array
    found = varied({"x": given_}, np.random.default_rng(seed))["x"]
    assert found.shape == given_.shape and found.dtype == given_.dtype
    again = varied({"x": given_}, np.random.default_rng(seed))["x"]
    assert found.tobytes() == again.tobytes(), "the seed says which variation"
    moved = np.moveaxis(found, -1, 1) if last else found
    assert (np.sort(moved.reshape(n, c, -1), axis=2) == np.sort(array.reshape(n, c, -1), axis=2)).all()
    assert array.tobytes() == pictures(n, c, h, w).tobytes(), "what was given is not touched"


def test_a_variation_is_a_mirror_image_moved_by_a_few_pixels() -> None:
    array = pictures(2, 3, 16, 24)
    reach = range(-(16 // SHIFT), 16 // SHIFT + 1), range(-(24 // SHIFT), 24 // SHIFT + 1)
    possible = {
        np.roll(image, (a, b), (2, 3)).tobytes(): mirrored
        for mirrored, image in enumerate((array, array[..., ::-1]))
        for a, b in itertools.product(*reach)
    }
    found = [v.tobytes() for v in variations(array)]
    assert set(found) <= set(possible) and len(set(found)) > 10
    assert {possible[v] for v in found} == {0, 1}, "some are mirrored, some are not"


@pytest.mark.parametrize(
    "array",
    [
        pictures(2, 3, LEAST - 1, 32),
        pictures(2, 16, 32),
        pictures(2, 3, 16, 16, 16),
        pictures(2, 3, 32, 32, dtype=np.int64),
    ],
    ids=["small", "no image", "volumes", "integers"],
)
def test_what_is_no_image_stays(array: Array) -> None:
    assert all(found is array for found in variations(array))


def test_several_inputs_stay() -> None:
    feeds = {"x": pictures(2, 3, 32, 32), "y": np.zeros((2, 1), np.float32)}
    assert varied(feeds, np.random.default_rng(0)) is feeds
