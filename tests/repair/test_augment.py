"""Variations of samples: images stay images, everything else stays as it is."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxprune.repair.augment import LEAST, ZOOM, varied

Array = NDArray[Any]


def pictures(*shape: int, dtype: Any = np.float32) -> Array:
    return np.random.default_rng(0).permutation(int(np.prod(shape))).reshape(shape).astype(dtype)


def variations(array: Array, count: int = 20) -> list[Array]:
    rng = np.random.default_rng(0)
    return [varied({"x": array}, rng)["x"] for _ in range(count)]


sides = st.integers(LEAST, 40)


@given(st.integers(1, 3), st.integers(1, 4), sides, sides, st.booleans(), st.integers(0, 99))
def test_images_stay_apart_and_within_their_range(n: int, c: int, h: int, w: int, last: bool, seed: int) -> None:
    array = pictures(n, c, h, w)
    given_ = np.moveaxis(array, 1, -1) if last else array
    found = varied({"x": given_}, np.random.default_rng(seed))["x"]
    assert found.shape == given_.shape and found.dtype == given_.dtype and found.flags.c_contiguous
    again = varied({"x": given_}, np.random.default_rng(seed))["x"]
    assert found.tobytes() == again.tobytes(), "the seed says which variation"
    moved = np.moveaxis(found, -1, 1) if last else found
    for image, old in zip(moved.reshape(n * c, -1), array.reshape(n * c, -1), strict=True):
        assert old.min() - 1e-3 * abs(old.min()) <= image.min() and image.max() <= old.max() * (1 + 1e-5)
    assert array.tobytes() == pictures(n, c, h, w).tobytes(), "what was given is not touched"


def test_channels_of_an_image_go_together() -> None:
    array = np.repeat(pictures(4, 1, 24, 32), 3, axis=1) * np.array([1, 2, 4], np.float32)[:, None, None]
    for found in variations(array):
        np.testing.assert_allclose(found[:, 1], 2 * found[:, 0], rtol=1e-6)
        np.testing.assert_allclose(found[:, 2], 4 * found[:, 0], rtol=1e-6)


@pytest.mark.parametrize("axis", [2, 3])
def test_a_variation_is_a_window_of_the_image_or_of_its_mirrored_surroundings(axis: int) -> None:
    """On a ramp, resized pixels are positions: evenly spaced by 1 / zoom, and back again behind the border."""
    side = 48
    ramp = np.moveaxis(np.broadcast_to(np.arange(side, dtype=np.float32), (1, 1, side, side)), 3, axis)
    steps = []
    for found in variations(ramp, 200):
        line = np.moveaxis(found, axis, 3)[0, 0, 0]
        inner = np.abs(np.diff(line))[side // 4 : side // 2]
        steps.append(float(np.median(inner)))
        assert line.min() >= 0 and line.max() <= side - 1
    assert min(steps) < 1 / 1.3 and max(steps) > 1.3, "both nearer and farther"
    assert min(steps) >= 0.98 * math.exp(-ZOOM) and max(steps) <= 1.02 * math.exp(ZOOM), "as the resizing rounds"


def windows(count: int) -> tuple[Array, list[tuple[Array, Array, float]]]:
    """Of variations of a picture of its own coordinates: (count, 4) zoom, where its window lies from left to right and
    from top to bottom, as shares of the way it could go, and whether it is mirrored; and (found, wanted, zoom) lines.
    """
    side = 48
    across = np.broadcast_to(np.arange(side, dtype=np.float32), (side, side))
    told, lines = [], []
    middle, at = slice(2 * side // 5, 3 * side // 5), np.arange(side) + 0.5
    for found in variations(np.stack([across, across.T])[None], count):
        row, column = found[0, 0, side // 2], found[0, 1, :, side // 2]
        mirrored = row[side // 2 + 1] < row[side // 2 - 1]
        ways = []
        for line in (row[::-1] if mirrored else row, column):
            slope, start = np.polyfit(at[middle], line[middle] + 0.5, 1)
            ways.append(start / (side - side * slope))
            position = start + slope * at - 0.5
            lines.append((line, side - 1 - np.abs(side - 1 - np.abs(position)), 1 / slope))
        told.append([1 / slope, *ways, mirrored])
    return np.array(told), lines


def test_windows_lie_everywhere_and_half_of_them_are_mirrored() -> None:
    told, _ = windows(400)
    zoom, across, down, mirrored = told.T
    assert abs(mirrored.mean() - 0.5) < 0.08
    for some in (zoom > 1.1, zoom < 1 / 1.1):
        for way in (across[some], down[some]):
            shares = np.histogram(way, [-0.1, 0.25, 0.5, 0.75, 1.1])[0] / some.sum()
            assert shares.sum() == pytest.approx(1) and shares.min() > 0.15
    clear = np.abs(np.log(zoom)) > 0.05
    assert abs(np.corrcoef(across[clear], down[clear])[0, 1]) < 0.2, "each direction for itself"


def test_beyond_its_border_an_image_goes_on_mirrored() -> None:
    _, lines = windows(60)
    assert min(zoom for *_, zoom in lines) < 1 / 1.3
    for found, wanted, _ in lines:
        assert np.abs(found - wanted).max() < 0.8, "as the resizing smooths"


def test_images_of_a_batch_are_varied_each_in_its_own_way() -> None:
    array = np.repeat(pictures(1, 3, 24, 32), 4, axis=0)
    for found in variations(array):
        assert len({image.tobytes() for image in found}) == 4


def test_images_of_half_precision_stay_so() -> None:
    array = pictures(2, 3, 16, 24).astype(np.float16)
    for found, wide in zip(variations(array), variations(array.astype(np.float32)), strict=True):
        assert found.dtype == np.float16 and (found == wide.astype(np.float16)).all()


def test_without_strength_an_image_is_mirrored_at_most() -> None:
    array = pictures(1, 3, 16, 24)
    found = [varied({"x": array}, np.random.default_rng(k), 0.0)["x"].tobytes() for k in range(20)]
    assert set(found) == {array.tobytes(), np.ascontiguousarray(array[..., ::-1]).tobytes()}


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
