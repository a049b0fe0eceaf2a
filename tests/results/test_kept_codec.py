"""Values as text and arrays, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from onnxprune.results.kept.codec import Unreadable, decoded, digest, encoded


@dataclass(frozen=True)
class Pair:
    name: str
    values: Any


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0.1 + 0.2,
        math.inf,
        1 << 127,
        "text",
        (1, [2.5, None], {"a": (), 3: "b"}),
        Pair("p", (Pair("q", None), [1])),
        {"random": {"state": 1 << 127, "inc": 3}},
    ],
)
def test_what_comes_back_is_what_went_in(value: Any) -> None:
    found = decoded(*encoded(value), types=(Pair,))
    assert found == value and type(found) is type(value)


def test_arrays_come_back_bit_for_bit() -> None:
    small = np.array([[1, -2], [3, 4]], ml_dtypes.int4)
    arrays = [np.arange(6, dtype=np.float32).reshape(2, 3), np.zeros((0, 2), np.int64), np.float32(0.1), small]
    back = decoded(*encoded(arrays))
    for mine, there in zip(arrays, back, strict=True):
        assert mine.dtype == there.dtype and mine.shape == there.shape and np.array_equal(mine, there)
    assert isinstance(back[2], np.float32)


def test_what_has_no_form_is_refused() -> None:
    for value in ({1, 2}, object(), np.array(["a"]), lambda: 0):
        with pytest.raises(TypeError):
            encoded(value)


def test_only_named_classes_come_back() -> None:
    """What is on the disk cannot make anything else."""
    text, arrays = encoded(Pair("a", 1))
    for wrong in (text.replace("Pair", "Path"), "{", '{"tuple": 3}', '{"array": 7}', '{"other": []}'):
        with pytest.raises(Unreadable):
            decoded(wrong, arrays, (Pair,))
    with pytest.raises(Unreadable):
        decoded(text, arrays)


def test_digests_tell_values_apart() -> None:
    values = [1, 1.5, "1", (1,), [1], {"a": 1}, np.ones(2), np.ones(2, np.float32), np.ones((2, 1)), Pair("a", 1), None]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(np.ones((3, 4)).T) == digest(np.ones((4, 3)))
