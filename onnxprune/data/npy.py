"""Reading .npy and .npz without trusting them: headers are checked against sizes before anything is allocated.

Pickles are never read. A .npy file and an uncompressed member of a .npz are mapped; a compressed member is unpacked
once, into memory or a temporary file (store.py).
"""

from __future__ import annotations

import io
import math
import struct
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data.store import LIMIT_BYTES, Store
from onnxprune.errors import DataError, ModelError
from onnxprune.model.container import map_file, open_regular
from onnxprune.results.units import format_bytes

_MAGIC = b"\x93NUMPY"
_HEADER_LIMIT = 10_000
_CHUNK = 1 << 20
_RATIO = 100
_LOCAL_HEADER = struct.Struct("<4s22xHH")


@dataclass(frozen=True)
class Header:
    """What a .npy header says. `end` is where the payload starts, `nbytes` how long it must be."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    end: int
    nbytes: int

    def array(self, buffer: memoryview, offset: int) -> NDArray[Any]:
        """The array at `offset` of `buffer`, without a copy."""
        result: NDArray[Any] = np.ndarray(self.shape, self.dtype, buffer, offset, order="F" if self.fortran else "C")
        return result


def open_file(path: Path) -> int:
    """A descriptor of a regular file. Raises UsageError if it is missing, DataError if it is not a readable file."""
    try:
        return open_regular(path)
    except ModelError as error:
        raise DataError(error.message, hint=error.hint) from error


def map_path(path: Path) -> memoryview:
    """The bytes of a regular file, mapped. Errors as `open_file`."""
    descriptor = open_file(path)
    try:
        return map_file(descriptor)
    except ModelError as error:
        raise DataError(f"{path.name}: {error.message}") from error


def read_npy(path: Path) -> NDArray[Any]:
    """A .npy file, mapped read-only. Raises UsageError (missing) and DataError (anything else)."""
    buffer = map_path(path)
    return _in_place(buffer, 0, len(buffer), path.name)


def _in_place(buffer: memoryview, start: int, size: int, label: str) -> NDArray[Any]:
    head = bytes(buffer[start : start + min(size, _HEADER_LIMIT + 12)])
    header = read_header(io.BytesIO(head), size, label)
    return header.array(buffer, start + header.end)


def read_header(stream: IO[bytes], size: int, label: str) -> Header:
    """The header at the start of `stream`, which holds `size` bytes. Raises DataError if it promises more than that."""
    start = stream.read(8)
    if size == 0 or not start:
        raise DataError(f"{label} is an empty file")
    if start[:6] != _MAGIC or len(start) < 8:
        raise DataError(f"{label} is not a .npy array", hint="Save arrays with numpy.save or numpy.savez.")
    major = start[6]
    width = 2 if major == 1 else 4
    length_bytes = stream.read(width)
    length = int.from_bytes(length_bytes, "little")
    if major not in (1, 2) or len(length_bytes) < width or length > _HEADER_LIMIT:
        raise DataError(f"{label}: the .npy header is damaged or of an unknown version")
    shape, fortran, dtype = _parse(length_bytes + stream.read(length), major, label)
    if dtype.hasobject:
        raise DataError(
            f"{label} holds pickled Python objects, which are never loaded",
            hint="Save numbers: numpy.save(path, array.astype('float32')).",
        )
    if dtype.names or dtype.subdtype:
        raise DataError(f"{label} holds records ({dtype}), not numbers")
    end = 8 + width + length
    nbytes = math.prod(shape) * dtype.itemsize
    if any(size_ < 0 for size_ in shape) or end + nbytes > size:
        raise DataError(
            f"{label} claims shape {shape} of {dtype} ({format_bytes(nbytes)}), "
            f"but there are only {max(size - end, 0)} bytes"
        )
    return Header(shape, dtype, fortran, end, nbytes)


def _parse(text: bytes, major: int, label: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            shape, fortran, dtype = read(io.BytesIO(text))
        return tuple(int(size) for size in shape), bool(fortran), dtype
    except Exception as error:  # a hostile header makes the parsers below raise many types
        raise DataError(f"{label}: the .npy header is damaged") from error


def read_npz(path: Path, check: Callable[[Sequence[str]], None] = lambda names: None) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz; `check` may refuse their names before anything is unpacked.

    Raises UsageError (missing) and DataError (damaged, pickled, too large when unpacked).
    """
    descriptor = open_file(path)
    try:
        with open(descriptor, "rb") as file, zipfile.ZipFile(file) as archive:
            members = _members(archive, path)
            check(list(members))
            buffer = map_path(path)
            return {name: _member(archive, member, buffer, path.name) for name, member in members.items()}
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, OSError) as error:
        raise DataError(f"{path.name} is not a readable .npz archive: {error}") from error
    except (ValueError, struct.error, OverflowError) as error:
        raise DataError(f"{path.name}: the .npz archive is damaged: {error}") from error
    except Exception as error:
        if type(error).__module__ in ("zlib", "lzma", "_lzma"):
            raise DataError(f"{path.name}: the .npz archive is damaged: {error}") from error
        raise


def _members(archive: zipfile.ZipFile, path: Path) -> dict[str, zipfile.ZipInfo]:
    found: dict[str, zipfile.ZipInfo] = {}
    total = 0
    for member in archive.infolist():
        name = member.filename.removesuffix(".npy")
        if name in found:
            raise DataError(f"{path.name} holds two arrays of the name {name!r}")
        if member.flag_bits & 1:
            raise DataError(f"{path.name} is encrypted")
        found[name] = member
        total += member.file_size
    limit = max(LIMIT_BYTES, _RATIO * path.stat().st_size)
    if total > limit:
        raise DataError(
            f"{path.name} would unpack to {format_bytes(total)}, more than the {format_bytes(limit)} that are allowed",
            hint="Save fewer samples, or save them uncompressed as .npy (those are mapped, of any size).",
        )
    return found


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, buffer: memoryview, name: str) -> NDArray[Any]:
    label = f"{name}[{member.filename.removesuffix('.npy')!r}]"
    if member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size:
        return _in_place(buffer, _payload(member, buffer, label), member.file_size, label)
    with archive.open(member) as stream:
        header = read_header(stream, member.file_size, label)
        store = Store(max(header.nbytes, 1))
        left = header.nbytes
        while left:
            block = stream.read(min(left, _CHUNK))
            if not block:
                raise DataError(f"{label} ends early")
            store.write(block)
            left -= len(block)
    return header.array(store.buffer(), 0)


def _payload(member: zipfile.ZipInfo, buffer: memoryview, label: str) -> int:
    """Where the bytes of a stored member start."""
    start = member.header_offset
    head = bytes(buffer[start : start + _LOCAL_HEADER.size])
    if start < 0 or len(head) < _LOCAL_HEADER.size or head[:4] != b"PK\x03\x04":
        raise DataError(f"{label}: the archive's directory is damaged")
    _, name, extra = _LOCAL_HEADER.unpack(head)
    start += _LOCAL_HEADER.size + name + extra
    if start + member.file_size > len(buffer):
        raise DataError(f"{label} ends after the end of the archive")
    return int(start)
