"""Entropy coding, byte planes, gaps, tables: what comes out is what went in."""

from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxprune.errors import ModelError
from onnxprune.packing import codec, planes, zeros
from onnxprune.packing.tables import Codebook, Scales, coder


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 500))
def test_streams_come_back(data: bytes, times: int) -> None:
    data = data * times
    coding, stored = codec.compress(data)
    assert len(stored) <= len(data)
    assert codec.decompress(coding, stored, len(data)) == data
    with pytest.raises(ModelError):
        codec.decompress(coding, stored, len(data) + 1)
    if data:
        with pytest.raises(ModelError):
            codec.decompress(coding, stored, len(data) - 1)
        with pytest.raises(ModelError):
            codec.decompress(codec.DEFLATE, b"\xff" + stored, len(data))


def test_frequencies_are_worth_bits() -> None:
    """16 values that are not equally frequent take less than their entropy and a tenth."""
    data = np.random.default_rng(0).binomial(15, 0.5, 200_000).astype(np.uint8)
    share = np.bincount(data) / data.size
    entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() / 8
    assert entropy < len(codec.compress(data.tobytes())[1]) / data.size < 1.1 * entropy
    assert len(codec.compress(bytes(1 << 20))[1]) < 2000
    repeating = np.random.default_rng(1).bytes(5000) * 100
    assert len(codec.compress(repeating)[1]) < 20_000


def test_a_bomb_takes_no_memory() -> None:
    stream = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(200)) + stream.flush()
    tracemalloc.start()
    with pytest.raises(ModelError, match="declares"):
        codec.decompress(codec.DEFLATE, bomb, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


@given(st.sampled_from([1, 2, 4, 8]), st.binary(max_size=200))
def test_planes_come_back(width: int, data: bytes) -> None:
    data = data[: len(data) // width * width]
    found = planes.split(data, width)
    assert len(found) == width and planes.join(found) == data


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(zeros.ROWS),
    st.booleans(),
    st.floats(0, 1),
    st.integers(0, 255),
)
def test_zeros_come_back(rows: int, depth: int, block: int, deep: bool, share: float, zero: int) -> None:
    rng = np.random.default_rng(rows * 41 + depth)
    symbols = rng.integers(0, 256, rows * depth).astype(np.uint8)
    symbols[rng.random(symbols.size) < share] = zero
    form = zeros.Blocks(block, depth if deep else 1)
    kept, gaps = zeros.encode(symbols, zero, form)
    np.testing.assert_array_equal(zeros.decode(kept, gaps, zero, form, symbols.size), symbols)


def test_far_gaps() -> None:
    for place in (0, 254, 255, 256, 509, 510, 511, 5000, 9999):
        symbols = np.zeros(10_000, np.uint8)
        symbols[place] = 7
        kept, gaps = zeros.encode(symbols, 0, zeros.Blocks(1, 1))
        assert kept.tolist() == [7] and len(gaps) == place // 255 + 1
        np.testing.assert_array_equal(zeros.decode(kept, gaps, 0, zeros.Blocks(1, 1), 10_000), symbols)


def test_the_form_follows_the_pattern() -> None:
    """Blocks down the rows, blocks along them, kernels, nothing to gain."""
    rng = np.random.default_rng(0)
    dense = rng.integers(1, 30, (64, 90)).astype(np.uint8)
    assert zeros.choose(dense.ravel(), 0, 90, 9) == zeros.DENSE
    down = dense * np.repeat(rng.random((16, 90)) < 0.1, 4, axis=0)
    assert zeros.choose(down.ravel(), 0, 90, 9) == zeros.Blocks(4, 90)
    along = dense * np.repeat(rng.random((64, 45)) < 0.1, 2, axis=1)
    assert zeros.choose(along.ravel(), 0, 90, 9) == zeros.Blocks(2, 1)
    kernels = dense * np.repeat(rng.random((64, 10)) < 0.1, 9, axis=1)
    assert zeros.choose(kernels.ravel(), 0, 90, 9) == zeros.Blocks(9, 1)
    single = dense * (rng.random((64, 90)) < 0.1)
    assert zeros.choose(single.ravel(), 0, 90, 9) == zeros.Blocks(1, 1)
    assert zeros.choose(single.ravel(), None, 90, 9) == zeros.DENSE


def test_gaps_that_lead_elsewhere() -> None:
    form = zeros.Blocks(1, 1)
    for kept, gaps in (([1], [101]), ([1, 2], [1]), ([1], [1, 1]), ([1], [0, 1]), ([], [5])):
        with pytest.raises(ModelError, match="gaps"):
            zeros.decode(np.array(kept, np.uint8), np.array(gaps, np.uint8), 0, form, 100)


@given(st.lists(st.floats(-10, 10, width=32), min_size=2, max_size=60))
def test_the_nearest_shared_value(values: list[float]) -> None:
    part = np.array(values, np.float32)
    book = Codebook(np.array([-3, 0, 0.5, 7], np.float32))
    found = book.values(book.symbols(part, 0), 0)
    best = np.abs(part[:, None].astype(float) - book.numbers[None]).min(axis=1)
    np.testing.assert_allclose(np.abs(found.astype(float) - part), best)
    assert (found[part == 0] == 0).all()
    np.testing.assert_array_equal(coder(book.table, book.numbers).values(book.symbols(part, 0), 0), found)
    with pytest.raises(ModelError, match="beyond"):
        book.values(np.array([4], np.uint8), 0)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_scales_belong_to_channels(axis: int) -> None:
    weight = np.random.default_rng(axis).standard_normal((4, 6, 5)).astype(np.float32)
    weight[0] = 0
    others = tuple(a for a in range(3) if a != axis)
    scales = np.abs(weight).max(axis=others) / np.float32(127)
    table = Scales(scales, int(np.prod(weight.shape[axis + 1 :])))
    flat = weight.ravel()
    for start, stop in ((0, 120), (7, 63)):  # from any element on
        symbols = table.symbols(flat[start:stop], start)
        found = table.values(symbols, start)
        allowed = np.broadcast_to(np.expand_dims(scales, others), weight.shape).ravel()[start:stop]
        assert (np.abs(found - flat[start:stop]) <= allowed / 2 * 1.0001 + 1e-12).all()
        assert (found[flat[start:stop] == 0] == 0).all()
