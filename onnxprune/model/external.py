"""External data: which file a tensor's payload is in, and whether it may be read.

A location is accepted if, normalised as text, it stays inside the folder that holds the model's name, and the file it
leads to (all symbolic links resolved) is inside that folder or inside the folder that holds the model's own bytes. So
caches that store blobs and link to them load, and `../`, absolute paths and links that lead elsewhere do not. A hard
link cannot be told from the file it shares, so files with more than one name are refused, as onnx does.
"""

from __future__ import annotations

import mmap
import os
import posixpath
import re
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from onnx import StringStringEntryProto, TensorProto

from onnxprune.errors import ModelError
from onnxprune.model.container import open_regular
from onnxprune.model.tensors import LazyTensor, check_raw_size, payload_bytes

_KEYS = frozenset({"location", "offset", "length", "checksum", "basepath"})
_DECIMAL = re.compile(r"[0-9]{1,19}", re.ASCII)
_MAX_INT64 = (1 << 63) - 1


class Entry(NamedTuple):
    """The external_data of one tensor, parsed. offset and length in bytes."""

    location: str
    offset: int
    length: int | None


class _Identity(NamedTuple):
    device: int
    inode: int
    size: int
    modified: int


def _identity(status: os.stat_result) -> _Identity:
    return _Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


class DataFile:
    """One external data file, checked once, mapped while some array uses it."""

    def __init__(self, path: Path, location: str) -> None:
        """`path` has no symbolic links left in it."""
        self.path = path
        self.location = location
        descriptor = self._open()
        try:
            status = os.fstat(descriptor)
            if status.st_nlink > 1:
                raise ModelError(
                    f"the external data file {location!r} is a hard link: it could be any file of this disk",
                    hint="Copy the file, so that it has one name only.",
                )
            self._identity = _identity(status)
        finally:
            os.close(descriptor)
        self.size = self._identity.size
        self._mapping: weakref.ref[mmap.mmap] | None = None

    def _open(self) -> int:
        try:
            return open_regular(self.path, follow=False, missing=ModelError)
        except ModelError as error:
            raise ModelError(f"external data {self.location!r}: {error.message}", hint=error.hint) from error

    def view(self, offset: int, length: int) -> memoryview:
        """`length` bytes at `offset`, mapped. Raises ModelError if the file changed since it was checked."""
        if length == 0:
            return memoryview(b"")
        mapping = self._mapping() if self._mapping is not None else None
        if mapping is None:
            descriptor = self._open()
            try:
                if _identity(os.fstat(descriptor)) != self._identity:
                    raise ModelError(f"the external data file {self.location!r} changed while the model was in use")
                mapping = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
            except OSError as error:
                raise ModelError(f"cannot map external data {self.location!r}: {error.strerror}") from error
            finally:
                os.close(descriptor)
            # Weak: a model may have thousands of data files, and a process about a thousand descriptors.
            self._mapping = weakref.ref(mapping)
        return memoryview(mapping)[offset : offset + length]


class ExternalData:
    """All the data files of one model. `model` is None if the model did not come from a file."""

    def __init__(self, model: Path | None) -> None:
        self._model = model
        self._files: dict[str, DataFile] = {}
        self._ranges: dict[Path, dict[tuple[int, int], str]] = {}

    @property
    def files(self) -> tuple[Path, ...]:
        """The data files seen so far, symbolic links resolved, in order of first use, each once."""
        return tuple(dict.fromkeys(file.path for file in self._files.values()))

    @property
    def locations(self) -> dict[str, Path]:
        """Normalised location -> file, in order of first use."""
        return {normalised(location): file.path for location, file in self._files.items()}

    def tensor(self, proto: TensorProto) -> LazyTensor:
        """A tensor whose payload is external. `proto` has passed `check_header`."""
        file, offset, length = self._locate(proto)
        header = TensorProto()
        header.CopyFrom(proto)
        header.ClearField("external_data")
        header.ClearField("data_location")
        return LazyTensor(header, raw=lambda: file.view(offset, length))

    def _locate(self, proto: TensorProto) -> tuple[DataFile, int, int]:
        name = proto.name
        if proto.data_type == TensorProto.STRING:
            raise ModelError(f"tensor {name!r} holds strings, which cannot be external data")
        entry = parse_entry(name, proto.external_data)
        file = self._file(name, entry.location)
        length = payload_bytes(proto.data_type, tuple(proto.dims))
        if entry.length is not None:
            check_raw_size(proto, entry.length)
        if entry.offset + length > file.size:
            raise ModelError(
                f"tensor {name!r} needs {length} bytes at offset {entry.offset} of the external data file "
                f"{entry.location!r}, which has {file.size} bytes"
            )
        if length:
            self._ranges.setdefault(file.path, {}).setdefault((entry.offset, length), name)
        return file, entry.offset, length

    def _file(self, name: str, location: str) -> DataFile:
        file = self._files.get(location)
        if file is None:
            if self._model is None:
                raise ModelError(
                    f"tensor {name!r} has external data, but the model was not read from a file",
                    hint="Pass the model's path instead.",
                )
            file = self._files[location] = DataFile(resolve(self._model, location), location)
        return file

    def check_overlaps(self) -> None:
        """Raise ModelError if two tensors share some bytes but not all: tied weights share all of theirs."""
        for path, ranges in self._ranges.items():
            reached, owner = 0, ""
            for (offset, length), name in sorted(ranges.items()):
                if offset < reached:
                    raise ModelError(f"tensors {owner!r} and {name!r} overlap in the external data file {path.name!r}")
                reached, owner = offset + length, name


def parse_entry(name: str, entries: Iterable[StringStringEntryProto]) -> Entry:
    """The external_data of tensor `name`. Raises ModelError for unknown or duplicate keys and bad numbers."""
    found: dict[str, str] = {}
    for entry in entries:
        if entry.key not in _KEYS:
            raise ModelError(f"tensor {name!r}: unknown external data key {entry.key[:100]!r}")
        if entry.key in found:
            raise ModelError(f"tensor {name!r}: external data key {entry.key!r} is given twice")
        found[entry.key] = entry.value
    offset = _number(name, "offset", found["offset"]) if "offset" in found else 0
    length = _number(name, "length", found["length"]) if "length" in found else None
    if "location" not in found:
        raise ModelError(f"tensor {name!r}: external data without a location")
    return Entry(found["location"], offset, length)


def _number(name: str, key: str, text: str) -> int:
    if not _DECIMAL.fullmatch(text) or int(text) > _MAX_INT64:
        raise ModelError(f"tensor {name!r}: external data {key} is {text[:40]!r}, not a byte count")
    return int(text)


def resolve(model: Path, location: str) -> Path:
    """The real path of `location` for the model file `model`. Raises ModelError if it may not be read."""
    logical = Path(os.path.abspath(model)).parent
    target = logical / normalised(location)
    try:
        physical = Path(os.path.realpath(model, strict=True)).parent
        real_logical = Path(os.path.realpath(logical, strict=True))
        real = Path(os.path.realpath(target, strict=True))
    except FileNotFoundError as error:
        raise ModelError(f"the external data file {location!r} is missing next to {model.name!r}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"external data {location!r} cannot be resolved: {reason}") from error
    if not (real.is_relative_to(real_logical) or real.is_relative_to(physical)):
        raise ModelError(f"external data {location!r} leads outside of the model's folder, to {os.fspath(real)!r}")
    if os.path.samefile(real, model):
        raise ModelError(f"external data {location!r} is the model file itself")
    return real


def normalised(location: str) -> str:
    """A relative location with forward slashes and without dots. Raises ModelError if it leaves the folder."""
    if not location or "\0" in location:
        raise ModelError(f"external data location {location!r} is not a file name")
    path = location.replace("\\", "/")
    if path.startswith("/") or re.match(r"[A-Za-z]:", path):
        raise ModelError(f"external data location {location!r} is not relative to the model's folder")
    path = posixpath.normpath(path)
    if path == "." or path == ".." or path.startswith("../"):
        raise ModelError(f"external data location {location!r} is not inside the model's folder")
    return path
