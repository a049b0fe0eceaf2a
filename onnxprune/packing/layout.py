"""The container: magic number, sections, directory, and an end that says where the directory is.

    magic (8)  version (2)  0 (2)
    sections, one after the other, without gaps
    directory, deflated
    bytes of the sections (8)  of the directory (4)  of the directory before it was deflated (4)
    CRC-32 of the directory as it is stored (4)  CRC-32 of the first 12 bytes and of the 20 before this one (4)

Numbers are little-endian; those of the directory are varints. It lists files, sections, tables and parts. The files are
the parts one after the other. A part is either `length` bytes of a pool (what is stored as it is, by width of its
elements), elements of a pool with gaps where they are zero, or weights given by a table and symbols. Who reads a
section is not said: every reader takes the next one with its role.

Everything is checked when it is read, before memory is taken; sizes are bounded, so a file can make nobody take more
than some tens of megabytes, whatever it claims.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum

from onnxprune.errors import ModelError
from onnxprune.model import wire
from onnxprune.model.container import PACKED_MAGIC
from onnxprune.packing import codec
from onnxprune.packing.zeros import MOST_ROWS, Blocks

VERSION = 1
SECTION_BYTES = 1 << 24
"""The most that a section may decode to."""
MOST_WEIGHTS = 1 << 22
"""In one part."""
DIRECTORY_BYTES = 1 << 24
ENTRIES = 1 << 20
"""The most files, sections, tables or parts."""
DIGEST_BYTES = 32
_MOST_CHANNELS = SECTION_BYTES // 4
_MOST_ELEMENTS = 1 << 48
_START = struct.Struct("<8sHH")
_END = struct.Struct("<QIIII")


class Role(IntEnum):
    """What a section holds. GRAPH and the EXACT ones are pools: one section for each byte of their elements."""

    GRAPH = 0
    EXACT1 = 1
    EXACT2 = 2
    EXACT4 = 3
    EXACT8 = 4
    TABLE = 5
    SYMBOLS = 6
    GAPS = 7


WIDTHS = {Role.GRAPH: 1, Role.EXACT1: 1, Role.EXACT2: 2, Role.EXACT4: 4, Role.EXACT8: 8}
"""Pool -> bytes of an element."""
_CODED = len(WIDTHS)
_SPARSE = _CODED + 1


@dataclass(frozen=True)
class Section:
    """A stream of `size` bytes, stored as `stored` bytes."""

    role: Role
    coding: int
    size: int
    stored: int
    crc: int


@dataclass(frozen=True)
class Table:
    """What symbols stand for. Codebook: `entries` floats, by index. Scales (`inner` above 0): `entries` floats, one a
    channel; element i of the weight belongs to channel i // inner % entries, and its symbol is a signed byte.
    """

    entries: int
    inner: int = 0

    @property
    def size(self) -> int:
        return 4 * self.entries


@dataclass(frozen=True)
class Plain:
    """`length` bytes of a pool."""

    pool: Role
    length: int


@dataclass(frozen=True)
class Coded:
    """`count` float32 weights from element `start` of the weight that `table` is for."""

    table: int
    count: int
    start: int
    form: Blocks

    @property
    def length(self) -> int:
        return 4 * self.count


@dataclass(frozen=True)
class Sparse:
    """`count` elements of a pool; of the blocks that are all zero only the gaps are stored."""

    pool: Role
    count: int
    form: Blocks

    @property
    def length(self) -> int:
        return WIDTHS[self.pool] * self.count


Part = Plain | Coded | Sparse


@dataclass(frozen=True)
class File:
    """`name` of the first one is that of the model that was packed; the others keep theirs."""

    name: str
    size: int


@dataclass
class Directory:
    """original, unpacked: SHA-256 over all files, as they were packed and as they are unpacked."""

    files: list[File] = field(default_factory=list)
    original: bytes = bytes(DIGEST_BYTES)
    unpacked: bytes = bytes(DIGEST_BYTES)
    sections: list[Section] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of all unpacked files."""
        return sum(file.size for file in self.files)


def start() -> bytes:
    """The first bytes of a packed file."""
    return _START.pack(PACKED_MAGIC, VERSION, 0)


def end(directory: Directory) -> bytes:
    """What follows the sections."""
    raw = b"".join(_encoded(directory))
    if len(raw) > DIRECTORY_BYTES or max(len(directory.sections), len(directory.parts)) > ENTRIES:
        raise ModelError(f"the model has {len(directory.parts)} parts: more than a packed file can hold")
    coding, stored = codec.compress(raw)
    body = sum(section.stored for section in directory.sections)
    # a directory that does not get smaller is as long as it says it decodes to
    fields = _END.pack(body, len(stored), len(raw), zlib.crc32(stored), 0)[:-4]
    assert (coding == codec.STORED) == (len(stored) == len(raw))
    return stored + fields + struct.pack("<I", zlib.crc32(start() + fields))


def overhead(directory: Directory) -> int:
    """Bytes around the sections."""
    return _START.size + len(end(directory))


def parse(buffer: memoryview) -> tuple[Directory, int]:
    """The directory of a packed file, and where its sections start. Raises ModelError for anything that is wrong."""
    size = len(buffer)
    if bytes(buffer[: len(PACKED_MAGIC)]) != PACKED_MAGIC:
        raise ModelError("this is not a packed model", hint="onnxprune pack MODEL makes one.")
    if size < _START.size + _END.size:
        raise damaged("it is cut off")
    _, version, reserved = _START.unpack(buffer[: _START.size])
    body, stored, raw, crc, end_crc = _END.unpack(buffer[size - _END.size :])
    if zlib.crc32(bytes(buffer[: _START.size]) + bytes(buffer[size - _END.size : size - 4])) != end_crc:
        raise damaged("its end is not where it should be")
    if version != VERSION or reserved:
        raise ModelError(
            f"the packed file has version {version}; this onnxprune knows {VERSION}", hint="Use a newer onnxprune."
        )
    if _START.size + body + stored + _END.size != size:
        raise damaged(f"it has {size} bytes, but says {_START.size + body + stored + _END.size}")
    if raw > DIRECTORY_BYTES:
        raise damaged(f"its directory says that it has {raw} bytes")
    packed = buffer[_START.size + body : size - _END.size]
    if zlib.crc32(packed) != crc:
        raise damaged("the checksum of its directory is wrong")
    coding = codec.STORED if stored == raw else codec.DEFLATE
    directory = _Reader(codec.decompress(coding, packed, raw)).directory()
    _check(directory, body)
    return directory, _START.size


def damaged(what: str) -> ModelError:
    """The error of a packed file that is not whole."""
    return ModelError(f"the packed file is damaged: {what}", hint="Fetch or make it again.")


def _check(directory: Directory, body: int) -> None:
    """Raise ModelError unless parts, tables and sections can belong together."""
    if sum(section.stored for section in directory.sections) != body:
        raise damaged("its sections do not fill it")
    for section in directory.sections:
        if section.size > SECTION_BYTES or (section.coding == codec.STORED and section.size != section.stored):
            raise damaged(f"a section says that it has {section.size} bytes")
    for table in directory.tables:
        if table.inner > _MOST_ELEMENTS or not 1 <= table.entries <= (_MOST_CHANNELS if table.inner else 256):
            raise damaged(f"a table says that it has {table.entries} entries")
    for part in directory.parts:
        if isinstance(part, Coded) and (part.table >= len(directory.tables) or part.start >= _MOST_ELEMENTS):
            raise damaged(f"a part says that it has table {part.table}, from weight {part.start} on")
        if isinstance(part, (Coded, Sparse)):
            rows, depth = part.form
            least = 1 if isinstance(part, Sparse) else 0
            fits = 0 < part.count <= MOST_WEIGHTS and least <= rows <= MOST_ROWS
            if not fits or not 0 < depth <= part.count or part.count % depth or rows * depth > MOST_WEIGHTS:
                raise damaged(f"a part says that it has {part.count} weights in blocks of {rows}, {depth} in a row")
    lengths = iter(directory.parts)
    for file in directory.files:
        rest = file.size
        while rest > 0:
            part_or_none = next(lengths, None)
            if part_or_none is None:
                raise damaged("its files are longer than their parts")
            rest -= part_or_none.length
        if rest:
            raise damaged("a part lies in two files")
    if next(lengths, None) is not None:
        raise damaged("its files are shorter than their parts")


def _encoded(directory: Directory) -> Iterator[bytes]:
    number = wire.encode_varint
    yield number(len(directory.files))
    for file in directory.files:
        name = file.name.encode("utf-8", "surrogateescape")
        yield number(len(name)) + name + number(file.size)
    yield directory.original + directory.unpacked
    yield number(len(directory.sections))
    for one in directory.sections:
        yield number(one.role) + number(one.coding) + number(one.size) + number(one.stored) + struct.pack("<I", one.crc)
    yield number(len(directory.tables))
    for table in directory.tables:
        yield number(table.entries) + number(table.inner)
    yield number(len(directory.parts))
    for part in directory.parts:
        if isinstance(part, Plain):
            yield number(part.pool) + number(part.length)
        elif isinstance(part, Sparse):
            yield number(_SPARSE) + number(part.pool) + number(part.count)
            yield number(part.form.rows) + number(part.form.depth)
        else:
            yield number(_CODED) + number(part.table) + number(part.count) + number(part.start)
            yield number(part.form.rows) + number(part.form.depth)


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data, self._position = memoryview(data), 0

    def directory(self) -> Directory:
        found = Directory()
        found.files = [self._file() for _ in range(self._count())]
        found.original, found.unpacked = self._take(DIGEST_BYTES), self._take(DIGEST_BYTES)
        found.sections = [self._section() for _ in range(self._count())]
        found.tables = [Table(self._number(), self._number()) for _ in range(self._count())]
        found.parts = [self._part() for _ in range(self._count())]
        if self._position != len(self._data) or not found.files:
            raise damaged("its directory has another length than its entries")
        return found

    def _number(self) -> int:
        try:
            value, self._position = wire.varint(self._data, self._position, len(self._data))
        except ModelError as error:
            raise damaged(f"its directory: {error.message}") from error
        return value

    def _count(self) -> int:
        value = self._number()
        if value > min(ENTRIES, len(self._data) - self._position):  # an entry takes a byte at least
            raise damaged(f"its directory says that it has {value} entries")
        return value

    def _take(self, size: int) -> bytes:
        if size > len(self._data) - self._position:
            raise damaged("its directory is cut off")
        self._position += size
        return bytes(self._data[self._position - size : self._position])

    def _file(self) -> File:
        name = self._take(self._number())
        try:
            return File(name.decode("utf-8"), self._number())
        except UnicodeDecodeError as error:
            raise damaged("a file name is not UTF-8") from error

    def _section(self) -> Section:
        role, coding, size, stored = (self._number() for _ in range(4))
        if role not in list(Role) or coding not in (codec.STORED, codec.DEFLATE):
            raise damaged(f"a section of the unknown kind {role}, {coding}")
        (crc,) = struct.unpack("<I", self._take(4))
        return Section(Role(role), coding, size, stored, crc)

    def _part(self) -> Part:
        kind = self._number()
        if kind < _CODED:
            return Plain(Role(kind), self._number())
        if kind == _SPARSE:
            pool, count, rows, depth = (self._number() for _ in range(4))
            if pool >= _CODED:
                raise damaged(f"a part of the unknown pool {pool}")
            return Sparse(Role(pool), count, Blocks(rows, depth))
        if kind > _SPARSE:
            raise damaged(f"a part of the unknown kind {kind}")
        table, count, start, rows, depth = (self._number() for _ in range(5))
        return Coded(table, count, start, Blocks(rows, depth))
