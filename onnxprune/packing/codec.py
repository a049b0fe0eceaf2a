"""Entropy coding of one stream of bytes, by zlib (RFC 1951).

Numbers that do not depend on their neighbours (indices of shared weights, gaps, byte planes) are coded by their
frequencies alone: Huffman codes without a search for repetitions are smaller for them, and fifty times faster. What
repeats itself (the graph, tables of positions) is searched, if a sample says that it pays; constant planes are runs.
All are read in the same way.
"""

from __future__ import annotations

import zlib

from onnxprune.errors import ModelError

STORED, DEFLATE = 0, 1
_WINDOW, _MEMORY = -15, 9  # raw, without header and checksum: every section has its own
_SAMPLE = 1 << 16
_THOROUGH = 9


def compress(data: bytes) -> tuple[int, bytes]:
    """The coding that is smallest, and the coded bytes."""
    best = min(_deflate(data, zlib.Z_HUFFMAN_ONLY), _deflate(data, zlib.Z_RLE), key=len)
    if len(data) <= _SAMPLE:
        best = min(best, _deflate(data, zlib.Z_DEFAULT_STRATEGY, _THOROUGH), key=len)
    elif _repeats(data):
        best = min(best, _deflate(data, zlib.Z_DEFAULT_STRATEGY), key=len)
    return (DEFLATE, best) if len(best) < len(data) else (STORED, data)


def decompress(coding: int, data: bytes | memoryview, size: int) -> bytes:
    """Exactly `size` bytes, never more in memory. Raises ModelError if the stream is damaged or of another size."""
    if coding == STORED:
        if len(data) != size:
            raise ModelError(f"a stored section has {len(data)} bytes instead of {size}")
        return bytes(data)
    stream = zlib.decompressobj(_WINDOW)
    try:
        found = stream.decompress(data, size + 1)
    except zlib.error as error:
        raise ModelError(f"a section cannot be decoded: {error}") from error
    if len(found) != size or not stream.eof or stream.unused_data:
        raise ModelError(f"a section does not decode to the {size} bytes that it declares")
    return found


def _repeats(data: bytes) -> bool:
    """Whether a search for repetitions pays in the middle of the stream."""
    start = (len(data) - _SAMPLE) // 2
    part = data[start : start + _SAMPLE]
    return len(_deflate(part, zlib.Z_DEFAULT_STRATEGY)) < 0.98 * len(_deflate(part, zlib.Z_HUFFMAN_ONLY))


def _deflate(data: bytes, strategy: int, level: int = 6) -> bytes:
    stream = zlib.compressobj(level, zlib.DEFLATED, _WINDOW, _MEMORY, strategy)
    return stream.compress(data) + stream.flush()
