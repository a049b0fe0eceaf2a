"""A model as the bytes of its files, cut into the values of its tensors and what lies between them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from onnxprune.errors import ModelError
from onnxprune.measure.files import temporary_folder
from onnxprune.model.container import map_file, open_regular
from onnxprune.model.load import Model, load
from onnxprune.model.places import Payload, Span, payloads
from onnxprune.model.save import write
from onnxprune.packing.layout import Role

POOLED = 256
"""Bytes; smaller tensors stay with the graph."""
PART = 1 << 20
"""Weights in one part."""
_ROWS = 8

_POOLS: dict[int, Role] = {
    **dict.fromkeys((TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32, TensorProto.COMPLEX64), Role.EXACT4),
    **dict.fromkeys((TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT16, TensorProto.UINT16), Role.EXACT2),
    **dict.fromkeys((TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT64), Role.EXACT8),
}


@dataclass(frozen=True)
class Piece:
    """Bytes `[start, end)` of a file; the values, of a shape, of all the tensors `names`, which may be none."""

    file: int
    start: int
    end: int
    pool: Role
    names: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class Source:
    """`files` are names and contents, the model first; `pieces` cover them, in order. `rewritten`: these are not the
    files of the model that was given, but what onnxprune writes for it.
    """

    model: Model
    files: tuple[tuple[str, memoryview], ...]
    pieces: tuple[Piece, ...]
    rewritten: bool

    def data(self, piece: Piece) -> memoryview:
        """The bytes of a piece, mapped."""
        return self.files[piece.file][1][piece.start : piece.end]


@contextlib.contextmanager
def open_source(model: Model) -> Iterator[Source]:
    """The files of a model. One that was not read from a file, or whose data files are in other folders, is written
    anew first. Raises ModelError, OutputError.
    """
    if model.path is not None and model.source is not None and not any("/" in name for name in model.locations):
        yield _source(model, False)
        return
    with temporary_folder() as folder:
        (path, *_) = write(model, folder / "model.onnx")
        yield _source(load(path), True)


def parts(data: memoryview, shape: tuple[int, ...]) -> Iterator[NDArray[np.float32]]:
    """The float32 values of a tensor, some whole rows at a time where rows are not too long. Aligned copies."""
    step = 4 * part_size(shape)
    for start in range(0, len(data), step):
        yield np.frombuffer(data[start : start + step], np.dtype("<f4")).astype(np.float32)


def part_size(shape: tuple[int, ...]) -> int:
    """Weights in one part: a multiple of 8 rows, or PART where rows are too long for that."""
    depth = row_size(shape)
    return PART if depth * _ROWS > PART else PART // (depth * _ROWS) * depth * _ROWS


def row_size(shape: tuple[int, ...]) -> int:
    """Weights behind one index of the first axis."""
    return max(int(np.prod(shape[1:], dtype=np.int64)), 1)


def _source(model: Model, rewritten: bool) -> Source:
    assert model.path is not None and model.source is not None
    files = [("", model.path.name, model.source)]
    for location, path in model.locations.items():
        files.append((location, location, map_file(open_regular(path, missing=ModelError))))
    found = payloads(model, POOLED)
    spans: dict[Span, list[str]] = {}
    for name, payload in found.items():
        spans.setdefault(payload.span, []).append(name)
    pieces: list[Piece] = []
    for index, (location, _, content) in enumerate(files):
        inside = sorted((span for span in spans if span.location == location), key=lambda span: span.start)
        tensors = [(tuple(spans[span]), found[spans[span][0]]) for span in inside]
        pieces.extend(_pieces(index, len(content), tensors))
    return Source(model, tuple((name, content) for _, name, content in files), tuple(pieces), rewritten)


def _pieces(file: int, size: int, tensors: list[tuple[tuple[str, ...], Payload]]) -> Iterator[Piece]:
    between = Role.GRAPH if file == 0 else Role.EXACT1
    position = 0
    for names, payload in tensors:
        span = payload.span
        if span.end > size or span.start < position:
            raise ModelError(f"the data of tensor {names[0]!r} changed while the model was in use")
        if span.start > position:
            yield Piece(file, position, span.start, between)
        pool = _POOLS.get(payload.dtype, Role.EXACT1)
        yield Piece(file, span.start, span.end, pool, names, payload.shape)
        position = span.end
    if size > position:
        yield Piece(file, position, size, between)
