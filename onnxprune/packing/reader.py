"""Unpacking: the files again, a few megabytes at a time, whatever the packed file claims."""

from __future__ import annotations

import contextlib
import hashlib
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from onnxprune.errors import ModelError
from onnxprune.model.container import PACKED_MAGIC, describe_foreign, map_file, open_regular
from onnxprune.packing import codec, planes, zeros
from onnxprune.packing.layout import (
    SECTION_BYTES,
    WIDTHS,
    Coded,
    Part,
    Plain,
    Role,
    Section,
    Sparse,
    Table,
    damaged,
    parse,
)
from onnxprune.packing.tables import Coder, coder
from onnxprune.results.units import format_bytes

EXPANSION = 1000
LEAST_LIMIT = 64 << 20


class Packed:
    """A packed file, checked as far as that goes without decoding it."""

    def __init__(self, path: Path, *, max_size: int | None = None) -> None:
        """max_size: bytes that the files may have; by default 1000 times those of the packed file, and 64 MiB.

        Raises UsageError if there is no such file, ModelError for everything else that is wrong with it.
        """
        self.path = path
        self._buffer = map_file(open_regular(path))
        if bytes(self._buffer[: len(PACKED_MAGIC)]) != PACKED_MAGIC:
            foreign = describe_foreign(self._buffer)
            what = foreign[0] if foreign is not None else "not a packed model"
            raise ModelError(f"{path}: this is {what}", hint="onnxprune pack MODEL makes packed models.")
        with _located(path):
            self.directory, self._first = parse(self._buffer)
        limit = max(EXPANSION * len(self._buffer), LEAST_LIMIT) if max_size is None else max_size
        if self.directory.size > limit:
            raise ModelError(
                f"{path}: says that it unpacks to {format_bytes(self.directory.size)}, from "
                f"{format_bytes(len(self._buffer))}; allowed are {format_bytes(limit)}",
                hint="If it comes from someone you trust: --max-size.",
            )

    @property
    def packed_bytes(self) -> int:
        return len(self._buffer)

    def files(self) -> Iterator[Iterator[bytes]]:
        """The bytes of each file, in order; each file is to be read to its end before the next. Raises ModelError."""
        reading = _Reading(self._buffer, self.directory.sections, self._first)
        digest = hashlib.sha256()
        parts = iter(self.directory.parts)
        last = len(self.directory.files) - 1
        for index, file in enumerate(self.directory.files):
            yield self._file(reading, parts, file.size, digest, index == last)

    def check(self) -> None:
        """Decode everything. Raises ModelError unless it is what the checksums say."""
        for file in self.files():
            for _ in file:
                pass

    def _file(
        self, reading: _Reading, parts: Iterator[Part], rest: int, digest: hashlib._Hash, last: bool
    ) -> Iterator[bytes]:
        with _located(self.path):
            while rest:
                part = next(parts)
                rest -= part.length
                if isinstance(part, Plain):
                    chunks = reading.plain(part)
                elif isinstance(part, Sparse):
                    chunks = reading.sparse(part)
                else:
                    chunks = reading.coded(part, self.directory.tables[part.table])
                for chunk in chunks:
                    digest.update(chunk)
                    yield chunk
            if last:
                reading.finish()
                if digest.digest() != self.directory.unpacked:
                    raise damaged("what it gives has another checksum")


class _Reading:
    """Takes the sections in order, those of each role on their own."""

    def __init__(self, buffer: memoryview, sections: list[Section], position: int) -> None:
        self._buffer = buffer
        queues: dict[Role, list[tuple[Section, int]]] = {role: [] for role in Role}
        for section in sections:
            queues[section.role].append((section, position))
            position += section.stored
        self._queues = {role: iter(queue) for role, queue in queues.items()}
        self._pools = dict.fromkeys(WIDTHS, b"")
        self._read = dict.fromkeys(WIDTHS, 0)
        self._number = -1
        self._coder: Coder | None = None

    def plain(self, part: Plain) -> Iterator[bytes]:
        """The next bytes of a pool."""
        rest = part.length
        while rest:
            start = self._read[part.pool]
            if start == len(self._pools[part.pool]):
                self._pools[part.pool], start = self._elements(part.pool), 0
            found = self._pools[part.pool][start : start + rest]
            self._read[part.pool] = start + len(found)
            rest -= len(found)
            yield found

    def sparse(self, part: Sparse) -> Iterator[bytes]:
        """The next elements of a pool, zeros between them."""
        gaps = np.frombuffer(self._next(Role.GAPS), np.uint8)
        stored = len(zeros.places(gaps, part.form, part.count))
        width = WIDTHS[part.pool]
        kept = b"".join(self.plain(Plain(part.pool, stored * part.form.rows * width)))
        elements = np.frombuffer(kept, f"<u{width}")
        yield zeros.decode(elements, gaps, 0, part.form, part.count).tobytes()

    def coded(self, part: Coded, table: Table) -> Iterator[bytes]:
        """The next weights."""
        found = self._table(part.table, table)
        symbols = np.frombuffer(self._next(Role.SYMBOLS), np.uint8)
        if part.form.rows:
            gaps = np.frombuffer(self._next(Role.GAPS), np.uint8)
            if found.zero is None:
                raise damaged("a codebook without zero has gaps")
            symbols = zeros.decode(symbols, gaps, found.zero, part.form, part.count)
        if symbols.size != part.count:
            raise damaged(f"a part has {symbols.size} weights instead of {part.count}")
        yield found.values(symbols, part.start).astype("<f4", copy=False).tobytes()

    def finish(self) -> None:
        """Raise ModelError if something was not read."""
        left = [role for role, queue in self._queues.items() if next(queue, None) is not None]
        left += [role for role in WIDTHS if self._read[role] < len(self._pools[role])]
        if left:
            raise damaged("it has sections that no part reads")

    def _table(self, number: int, table: Table) -> Coder:
        entries = table.entries
        if number != self._number or self._coder is None:
            if number != self._number + 1:
                raise damaged("its tables are out of order")
            data = self._next(Role.TABLE)
            if len(data) != 4 * entries:
                raise damaged(f"a table of {entries} entries has {len(data)} bytes")
            numbers = np.frombuffer(planes.join([data[k * entries : (k + 1) * entries] for k in range(4)]), "<f4")
            self._number, self._coder = number, coder(table, numbers.astype(np.float32))
        return self._coder

    def _elements(self, pool: Role) -> bytes:
        found = [self._next(pool, SECTION_BYTES // WIDTHS[pool]) for _ in range(WIDTHS[pool])]
        if len({len(plane) for plane in found}) != 1 or not found[0]:
            raise damaged("its byte planes are of different lengths")
        return found[0] if len(found) == 1 else planes.join(found)

    def _next(self, role: Role, most: int = SECTION_BYTES) -> bytes:
        section, position = next(self._queues[role], (None, 0))
        if section is None:
            raise damaged("a part reads sections that are not there")
        if section.size > most:
            raise damaged(f"a section says that it has {section.size} bytes")
        data = self._buffer[position : position + section.stored]
        if zlib.crc32(data) != section.crc:
            raise damaged(f"the checksum of the section at byte {position} is wrong")
        return codec.decompress(section.coding, data, section.size)


@contextlib.contextmanager
def _located(path: Path) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except ModelError as error:
        raise ModelError(f"{path}: {error.message}", hint=error.hint) from error
