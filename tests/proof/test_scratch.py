"""Arrays on the way between the process of a proof and the one that runs models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnxprune.proof.scratch import ALIGNED_BYTES, append, load, read, save

ARRAYS = {
    "float": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.arange(6, dtype=np.float16).reshape(2, 3).T,
    "none": np.zeros((2, 0), np.int64),
    "one": np.array(True),
    "special": np.array([np.nan, -np.inf, -0.0]),
    "big-endian": np.arange(3, dtype=">i4"),
}


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    found = load(save(tmp_path / "x", ARRAYS))
    assert list(found) == list(ARRAYS) and all(same(found[name], array) for name, array in ARRAYS.items())
    assert all(array.ctypes.data % 4 == 0 for array in found.values())
    assert load(save(tmp_path / "nothing", {})) == {}


def test_texts_are_no_objects(tmp_path: Path) -> None:
    found = load(save(tmp_path / "x", {"t": np.array(["", "größer"], object)}))
    assert found["t"].dtype.kind == "U" and found["t"].tolist() == ["", "größer"]


def test_outputs_of_a_run_share_a_file(tmp_path: Path) -> None:
    """However many there are; what is no array of numbers has no place."""
    values = [*ARRAYS.values(), np.array(["text"], object), [1, 2]]
    *places, text, sequence = append(tmp_path / "run", values)
    assert text is None and sequence is None and [path.name for path in tmp_path.iterdir()] == ["run"]
    for place, array in zip(places, ARRAYS.values(), strict=True):
        assert place is not None and same(read(place), array) and place[1] % ALIGNED_BYTES == 0


def test_a_file_that_is_cut_off_is_an_error(tmp_path: Path) -> None:
    (place,) = append(tmp_path / "run", [np.ones(8)])
    (tmp_path / "run").write_bytes(b"\0" * 60)
    assert place is not None
    with pytest.raises(ValueError, match="size"):
        read(place)
