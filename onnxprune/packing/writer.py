"""Packing: a model's files, piece by piece, into sections and a directory. Memory does not grow with the model."""

from __future__ import annotations

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from onnxprune.packing import codec, layout, planes, zeros
from onnxprune.packing.choose import LEAST, Choice, choose, relative, squares
from onnxprune.packing.kinds import Weight
from onnxprune.packing.layout import WIDTHS, Coded, Directory, File, Plain, Role, Section, Sparse
from onnxprune.packing.recipe import EXACT, INT8, SHARED, Recipe
from onnxprune.packing.results import PackedTensor
from onnxprune.packing.source import Piece, Source, parts, row_size

POOL_BYTES = 1 << 22
ALONE = 1 << 16
"""Bytes; tensors that are stored as they are, and larger, have sections of their own."""
_STEPS = 50
"""The most that progress is told."""
_NAMES = {Role.GRAPH: "graph", Role.TABLE: "codebooks", Role.SYMBOLS: "indices", Role.GAPS: "gaps"}


class Writer:
    """One use: `chunks` is the packed file; `directory`, `tensors` and `sizes` are there when it has ended."""

    def __init__(
        self,
        source: Source,
        kinds: Mapping[str, Weight | str],
        recipe: Recipe,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self._source, self._kinds, self._recipe, self._progress = source, kinds, recipe, progress
        self._pools: dict[Role, bytearray] = {role: bytearray() for role in WIDTHS}
        self._original, self._unpacked = hashlib.sha256(), hashlib.sha256()
        self.directory = Directory(files=[File(name, len(content)) for name, content in source.files])
        self.tensors: list[PackedTensor] = []
        self._stored = 0

    def chunks(self) -> Iterator[bytes]:
        """The bytes of the packed file."""
        yield layout.start()
        total = sum(len(content) for _, content in self._source.files)
        done = told = 0
        for piece in self._source.pieces:
            yield from self._piece(piece)
            done += piece.end - piece.start
            if done - told >= total / _STEPS:
                told = done
                self._progress(done, total)
        for role in WIDTHS:
            yield from self._flush(role)
        self.directory.original, self.directory.unpacked = self._original.digest(), self._unpacked.digest()
        yield layout.end(self.directory)

    def sizes(self) -> dict[str, int]:
        """Bytes of the packed file by what they are for."""
        found = Counter(dict.fromkeys(("indices", "gaps", "codebooks", "graph", "exact"), 0))
        for section in self.directory.sections:
            found[_NAMES.get(section.role, "exact")] += section.stored
        return {**found, "container": layout.overhead(self.directory)}

    def _piece(self, piece: Piece) -> Iterator[bytes]:
        uses = [self._kinds.get(name) for name in piece.names]
        weights = [use for use in uses if isinstance(use, Weight)]
        reason = next((use for use in uses if isinstance(use, str)), None)
        if not piece.names or reason is not None or len(weights) < len(uses):
            yield from self._exact(piece, weights[0].kind if weights else None, reason)
            return
        # of tied weights the one that is treated with the most care
        weight = max(weights, key=lambda one: self._recipe.bits[one.kind])
        shape = piece.shape
        data = self._source.data(piece)
        found = choose(weight, shape, lambda: parts(data, shape), self._recipe)
        if isinstance(found, str):
            yield from self._exact(piece, weight.kind, found)
        else:
            yield from self._coded(piece, weight, shape, found)

    def _exact(self, piece: Piece, kind: str | None, reason: str | None) -> Iterator[bytes]:
        data = self._source.data(piece)
        self._original.update(data)
        self._unpacked.update(data)
        alone = bool(piece.names) and len(data) >= ALONE
        if alone:
            yield from self._flush(piece.pool)
        before = self._stored
        for start in range(0, len(data), POOL_BYTES):
            chunk = bytes(data[start : start + POOL_BYTES])
            gaps = self._add(piece, chunk)
            if gaps is not None:
                yield self._section(Role.GAPS, gaps)
            if len(self._pools[piece.pool]) >= POOL_BYTES:
                yield from self._flush(piece.pool)
        if alone:
            yield from self._flush(piece.pool)
        if alone or reason is not None:
            size = self._stored - before if alone else None
            self._tell(piece, kind, EXACT, 0, 0.0, size, 0.0, reason)

    def _add(self, piece: Piece, data: bytes) -> bytes | None:
        """Put the next elements of a piece into its pool; the gaps, if zeros are left out."""
        width, pool = WIDTHS[piece.pool], self._pools[piece.pool]
        shape = piece.shape
        if len(data) % width == 0 and len(data) >= LEAST and piece.names and piece.pool != Role.EXACT8:
            elements = np.frombuffer(data, f"<u{width}")
            depth = row_size(shape) if elements.size % row_size(shape) == 0 else 1
            # mantissas have no frequencies: an element takes about what it is long
            form = zeros.choose(elements, 0, depth, 1, None if width == 1 else lambda kept: 7.0 * width * kept.size)
            if form.rows:
                kept, gaps = zeros.encode(elements, 0, form)
                pool += kept.tobytes()
                self.directory.parts.append(Sparse(piece.pool, elements.size, form))
                return gaps.tobytes()
        pool += data
        self.directory.parts.append(Plain(piece.pool, len(data)))
        return None

    def _coded(self, piece: Piece, weight: Weight, shape: tuple[int, ...], choice: Choice) -> Iterator[bytes]:
        coder, before = choice.coder, self._stored
        self.directory.tables.append(coder.table)
        yield self._section(Role.TABLE, b"".join(planes.split(coder.numbers.astype("<f4").tobytes(), 4)))
        start = none = 0
        error = power = 0.0
        depth = row_size(shape)
        for part in parts(self._source.data(piece), shape):
            symbols = coder.symbols(part, start)
            values = coder.values(symbols, start)
            if not choice.lossless:
                found = squares(part, values)
                error, power = error + found[0], power + found[1]
            none += values.size - int(np.count_nonzero(values))
            self._original.update(part.astype("<f4", copy=False).data)
            self._unpacked.update(values.astype("<f4", copy=False).data)
            form = zeros.choose(symbols, coder.zero, depth if part.size % depth == 0 else 1, weight.kernel)
            kept, gaps = zeros.encode(symbols, coder.zero or 0, form)
            self.directory.parts.append(Coded(len(self.directory.tables) - 1, part.size, start, form))
            yield self._section(Role.SYMBOLS, kept.tobytes())
            if form.rows:
                yield self._section(Role.GAPS, gaps.tobytes())
            start += part.size
        size, how = self._stored - before, (INT8 if coder.table.inner else SHARED)
        self._tell(piece, weight.kind, how, coder.table.entries, none / start, size, relative(error, power), None)

    def _flush(self, role: Role) -> Iterator[bytes]:
        pool = self._pools[role]
        whole = len(pool) // WIDTHS[role] * WIDTHS[role]  # tensors have whole elements
        if whole:
            for plane in planes.split(bytes(pool), WIDTHS[role]):
                yield self._section(role, plane)
            pool.clear()

    def _section(self, role: Role, data: bytes) -> bytes:
        coding, stored = codec.compress(data)
        self.directory.sections.append(Section(role, coding, len(data), len(stored), zlib.crc32(stored)))
        self._stored += len(stored)
        return stored

    def _tell(
        self,
        piece: Piece,
        kind: str | None,
        how: str,
        entries: int,
        none: float,
        size: int | None,
        error: float,
        reason: str | None,
    ) -> None:
        before = piece.end - piece.start
        name = piece.names[0]
        self.tensors.append(PackedTensor(name, kind, piece.shape, how, entries, none, before, size, error, reason))
