"""Files that try: nothing is allocated on a header's word, nothing is unpickled, nothing blocks."""

from __future__ import annotations

import contextlib
import io
import os
import pickle
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_models import one

from onnxprune.data import npy, open_data, store
from onnxprune.errors import DataError, OnnxPruneError

M = one("N", 3)


def header(shape: str, dtype: str = "<f4", version: int = 1) -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


def refused(path: Path, match: str) -> None:
    tracemalloc.start()
    with pytest.raises(DataError, match=match):
        open_data(path, M)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6


class Bomb:
    def __reduce__(self) -> object:
        return os.mkdir, ("unpickled",)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (header("(366503875925, 3)") + b"x" * 64, "claims shape .*4.40 TB"),
        (header("(9223372036854775807, 9223372036854775807, 3)"), "claims shape"),
        (header("(-4, 3)"), "claims shape"),
        (header("(2, 3)") + bytes(23), "only 23 bytes"),
        (header("(2, 3)", "|O"), "pickled Python objects"),
        (header("(2, 3)", "nonsense"), "header is damaged"),
        (header("'" + "(" * 9000 + "'"), "header is damaged"),
        (header("(2,3)", version=3), "unknown version"),
        (header("(2,3)", version=9), "unknown version"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff", "damaged or of an unknown version"),
        (b"\x93NUM", "not a .npy array"),
        (b"\x93NUMPY\x01\x00", "damaged"),
        (b"", "empty file"),
        (b"hello", "not a .npy array"),
        (pickle.dumps(np.ones(3)), "not a .npy array"),
    ],
)
@pytest.mark.parametrize("form", ["npy", "stored", "deflated"])
def test_npy_headers(tmp_path: Path, content: bytes, match: str, form: str) -> None:
    if form == "npy":
        path = tmp_path / "x.npy"
        path.write_bytes(content)
    else:
        path = tmp_path / "x.npz"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if form == "deflated" else zipfile.ZIP_STORED) as archive:
            archive.writestr("x.npy", content)
    refused(path, match)


def test_records_and_pickles_are_refused_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "o.npy", np.array([Bomb()] * 3, object), allow_pickle=True)
    np.savez(tmp_path / "o.npz", x=np.array([Bomb()] * 3, object))
    np.save(tmp_path / "r.npy", np.zeros(3, [("a", "f4")]))
    refused(tmp_path / "o.npy", "pickled Python objects, which are never loaded")
    refused(tmp_path / "o.npz", "pickled Python objects")
    refused(tmp_path / "r.npy", "records")
    assert not (tmp_path / "unpickled").exists()


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header("(1, 3)") + bytes(12))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(data)
    limit = npy.LIMIT_BYTES
    npy.LIMIT_BYTES = 1 << 30
    try:
        refused(path, "would unpack to 4.29 GB")
    finally:
        npy.LIMIT_BYTES = limit


def test_a_member_that_claims_more_than_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "short.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header("(100000000, 3)") + bytes(12))
    data = bytearray(path.read_bytes())
    place = data.rindex(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", 1_300_000_000)
    path.write_bytes(data)
    refused(path, "ends early|not a readable|damaged")


def test_other_archives(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    for content in (b"", b"PK\x03\x04", b"nonsense" * 100):
        path.write_bytes(content)
        refused(path, "not a readable .npz")
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr("x.npy", b"")
        archive.writestr("x.npy", b"")
    refused(path, "two arrays of the name 'x'")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"1")
    data = bytearray(path.read_bytes())
    for magic, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(magic) + place] |= 1
    path.write_bytes(data)
    refused(path, "encrypted")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_cut_and_flipped_archives_give_typed_errors_or_data(tmp_path: Path, save: object) -> None:
    buffer = io.BytesIO()
    save(buffer, x=np.zeros((4, 3), np.float32))
    whole = buffer.getvalue()
    path = tmp_path / "x.npz"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        with pytest.raises(OnnxPruneError):
            open_data(path, M)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        with contextlib.suppress(OnnxPruneError):
            open_data(path, M)


def test_special_files(tmp_path: Path) -> None:
    for suffix in (".npy", ".npz"):
        os.mkfifo(tmp_path / f"pipe{suffix}")
        refused(tmp_path / f"pipe{suffix}", "a pipe, not a regular file")
        (tmp_path / f"zero{suffix}").symlink_to("/dev/zero")
        refused(tmp_path / f"zero{suffix}", "a device, not a regular file")
    folder = tmp_path / "d"
    folder.mkdir()
    os.mkfifo(folder / "a.png")
    with pytest.raises(DataError, match="a pipe"):
        open_data(folder, one("N", 3, 4, 4), preprocess="imagenet,crop=4")
    os.mkfifo(tmp_path / "f.py")
    with pytest.raises(DataError, match="a pipe"):
        open_data(f"{tmp_path}/f.py:load", M)
    with pytest.raises(OnnxPruneError):
        open_data(str(tmp_path / "pipe.npy") + "/x.npy", M)
    (tmp_path / "gone.npy").symlink_to(tmp_path / "nowhere.npy")
    with pytest.raises(OnnxPruneError, match="no such file"):
        open_data(tmp_path / "gone.npy", M)


def test_what_does_not_fit_into_memory_goes_to_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "MEMORY_BYTES", 1000)
    x = np.arange(3000, dtype=np.float32).reshape(1000, 3)
    np.savez_compressed(tmp_path / "x.npz", x=x)
    for data in (tmp_path / "x.npz", lambda: iter(x)):
        c = open_data(data, M)
        assert np.array_equal(c.batch(0, 1000)["x"], x)
    np.savez(tmp_path / "y.npz", x=x)
    assert np.array_equal(open_data(tmp_path / "y.npz", M).split()[0].batch(5, 6)["x"].shape, (1, 3))


def test_a_large_file_is_mapped_and_only_the_chosen_rows_are_read(tmp_path: Path) -> None:
    rows = 20_000_000_000 // 12
    with open(tmp_path / "x.npy", "wb") as file:
        file.write(header(f"({rows}, 3)"))
        file.truncate(file.tell() + rows * 12)
    tracemalloc.start()
    c = open_data(tmp_path / "x.npy", one(4096, 3), samples=3)
    assert c.batch(0, 3)["x"].shape == (3 * 4096, 3) and tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_names_are_checked_before_anything_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez_compressed(tmp_path / "x.npz", x=np.ones((2, 3)), y=np.ones(9))
    monkeypatch.setattr(npy, "_member", lambda *rest: pytest.fail("unpacked"))
    refused(tmp_path / "x.npz", "'y' is not an input")


def test_the_temporary_folder_may_be_full() -> None:
    small = store.Store(10)
    with pytest.raises(DataError, match="larger than"):
        small.write(b"x" * 11)
