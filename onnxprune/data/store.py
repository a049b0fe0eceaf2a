"""Bytes that are written once and then read in place, in memory while they are few, else in a temporary file."""

from __future__ import annotations

import io
import mmap
import tempfile
from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import DataError
from onnxprune.results.units import format_bytes

MEMORY_BYTES = 64 << 20
LIMIT_BYTES = 8 << 30
"""What a data source may give at most, unless it is a file that can be read in place."""
_ALIGNMENT = 64


class Store:
    """Append-only. The temporary file has no name and goes away with the last array that reads it."""

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.size, self._limit = 0, limit
        self._file: IO[bytes] = io.BytesIO()
        self._on_disk = False

    def write(self, data: bytes | memoryview) -> None:
        """Raises DataError above the limit and where the temporary folder is full."""
        count = len(data)
        if self.size + count > self._limit:
            raise DataError(
                f"the data is larger than {format_bytes(self._limit)}", hint="Use fewer samples: --samples N."
            )
        try:
            if not self._on_disk and self.size + count > MEMORY_BYTES:
                self._spill()
            self._file.write(data)
        except OSError as error:
            raise DataError(f"no room for the data in the temporary folder: {error.strerror}") from error
        self.size += count

    def _spill(self) -> None:
        file = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the store
        assert isinstance(self._file, io.BytesIO)
        file.write(self._file.getbuffer())
        self._file, self._on_disk = file, True

    def __del__(self) -> None:
        if self._on_disk:
            self._file.close()

    def align(self) -> int:
        """Fill up to the next aligned place; its offset."""
        self.write(bytes(-self.size % _ALIGNMENT))
        return self.size

    def buffer(self) -> memoryview:
        """Everything written, read-only. Nothing may be written afterwards."""
        if isinstance(self._file, io.BytesIO):
            return self._file.getbuffer().toreadonly()
        self._file.flush()
        with self._file:
            return memoryview(mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ))


class Spool:
    """Arrays of one input, piece by piece. Pieces of one item shape and type that follow each other become one array.

    Every piece has shape (rows, *item) and a label, which messages name it by.
    """

    def __init__(self, limit: int = LIMIT_BYTES) -> None:
        self.rows = 0
        self.labels: list[tuple[int, str]] = []
        self._store = Store(limit)
        self._runs: list[tuple[np.dtype[Any], tuple[int, ...], int, int]] = []  # dtype, item shape, offset, rows
        self._strings: list[NDArray[Any]] = []

    @property
    def nbytes(self) -> int:
        return self._store.size

    def add(self, piece: NDArray[Any], label: str) -> None:
        """Append rows. Raises DataError above the limit."""
        self.labels.append((self.rows, label))
        self.rows += len(piece)
        if piece.dtype.kind in "OUST":
            self._strings.append(piece.astype(object))
            return
        key = (piece.dtype, piece.shape[1:])
        if not self._runs or self._runs[-1][:2] != key:
            self._runs.append((*key, self._store.align(), 0))
        dtype, item, offset, rows = self._runs[-1]
        data = np.ascontiguousarray(piece)
        self._store.write(data.reshape(-1).view(np.uint8).data if data.size else b"")
        self._runs[-1] = (dtype, item, offset, rows + len(piece))

    def arrays(self) -> Sequence[NDArray[Any]]:
        """The runs, in order, without a copy."""
        if self._strings:
            return self._strings
        buffer = self._store.buffer()
        return [np.ndarray((rows, *item), dtype, buffer, offset) for dtype, item, offset, rows in self._runs]
