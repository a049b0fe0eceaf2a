"""The protobuf wire format, walked by hand, so that a model's weights are never copied or even read.

Only three message levels are walked (ModelProto, its GraphProto, each initializer's TensorProto). Everything else is
cut out as byte ranges and left to protobuf itself. Every length is checked against what is really there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from onnxprune.errors import ModelError

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5
MAX_VARINT_BYTES = 10
MAX_FIELD_NUMBER = (1 << 29) - 1

# ModelProto fields by number: the wire type each must have. Anything else at this level is not an ONNX model.
MODEL_FIELDS = {
    1: VARINT,  # ir_version
    2: LENGTH,  # producer_name
    3: LENGTH,  # producer_version
    4: LENGTH,  # domain
    5: VARINT,  # model_version
    6: LENGTH,  # doc_string
    7: LENGTH,  # graph
    8: LENGTH,  # opset_import
    14: LENGTH,  # metadata_props
    20: LENGTH,  # training_info
    25: LENGTH,  # functions
    26: LENGTH,  # configuration
}
GRAPH = 7
INITIALIZER = 5
RAW_DATA = 9
TYPED_DATA = {4: "float_data", 5: "int32_data", 6: "string_data", 7: "int64_data", 10: "double_data", 11: "uint64_data"}


class Field(NamedTuple):
    """One field: `start` is where its tag starts, the value is `[value, end)`, all in bytes of the buffer."""

    number: int
    wire: int
    start: int
    value: int
    end: int


@dataclass
class TensorRange:
    """One initializer: the bytes that describe it, and where its payload is."""

    start: int
    header: bytes = b""
    raw: tuple[int, int] | None = None
    typed: list[Field] = field(default_factory=list)


@dataclass
class Scan:
    """What a walk over a model file found.

    `pieces` alternates: byte ranges to keep, and between piece i and i + 1 sits initializer i.
    `graph` is the body's range; `prefix` and `suffix` are what surrounds the whole graph field.
    """

    prefix: list[tuple[int, int]]
    graph: tuple[int, int]
    suffix: list[tuple[int, int]]
    pieces: list[tuple[int, int]]
    tensors: list[TensorRange]


def varint(buffer: memoryview, position: int, end: int) -> tuple[int, int]:
    """Decode an unsigned varint at `position`: (value, next position). Raises ModelError if cut off or overlong."""
    result = 0
    for count in range(MAX_VARINT_BYTES):
        if position >= end:
            raise ModelError(f"the file is truncated or corrupt: a number is cut off at byte {position}")
        byte = buffer[position]
        position += 1
        result |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if result >= 1 << 64:
                break
            return result, position
    raise ModelError(f"the file is corrupt: an overlong number ends at byte {position}")


def encode_varint(value: int) -> bytes:
    """Encode an unsigned integer."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def tag(number: int, wire: int) -> bytes:
    """Encode a field's tag."""
    return encode_varint(number << 3 | wire)


def fields(buffer: memoryview, start: int, end: int, where: str) -> Iterator[Field]:
    """Walk the fields of the message in `[start, end)`. `where` names the message in errors."""
    position = start
    while position < end:
        first = position
        key = buffer[position]
        if key < 0x80:  # nearly always: the tag is one byte
            position += 1
        else:
            key, position = varint(buffer, position, end)
        number, wire = key >> 3, key & 7
        if number == 0 or number > MAX_FIELD_NUMBER:
            raise ModelError(f"the file is corrupt: field number {number} in {where} at byte {first}")
        if wire == LENGTH:
            size, value = varint(buffer, position, end)
        elif wire == VARINT:
            value = position
            size = varint(buffer, position, end)[1] - position
        elif wire in (FIXED32, FIXED64):
            value, size = position, 4 if wire == FIXED32 else 8
        else:
            raise ModelError(f"the file is corrupt: wire type {wire} in {where} at byte {first}")
        position = value + size
        if position > end:
            raise ModelError(
                f"the file is truncated or corrupt: field {number} of {where} at byte {first} "
                f"declares {size} bytes, {max(0, end - value)} are left"
            )
        yield Field(number, wire, first, value, position)


def scan(buffer: memoryview) -> Scan:
    """Find the graph and its initializers in the bytes of a ModelProto."""
    prefix: list[tuple[int, int]] = []
    suffix: list[tuple[int, int]] = []
    graph: Field | None = None
    for item in fields(buffer, 0, len(buffer), "the model"):
        if MODEL_FIELDS.get(item.number) != item.wire:
            raise ModelError(
                f"this is not an ONNX model, or it has trailing garbage: "
                f"unknown field {item.number} (wire type {item.wire}) at byte {item.start}"
            )
        if item.number == GRAPH:
            if graph is not None:
                raise ModelError(f"the model has more than one graph field (bytes {graph.start} and {item.start})")
            graph = item
        else:
            (prefix if graph is None else suffix).append((item.start, item.end))
    if graph is None:
        raise ModelError("the model has no graph")
    pieces, tensors = _scan_graph(buffer, graph.value, graph.end)
    return Scan(prefix, (graph.value, graph.end), suffix, pieces, tensors)


def _scan_graph(buffer: memoryview, start: int, end: int) -> tuple[list[tuple[int, int]], list[TensorRange]]:
    pieces: list[tuple[int, int]] = []
    tensors: list[TensorRange] = []
    kept = start
    for item in fields(buffer, start, end, "the graph"):
        if item.number != INITIALIZER:
            continue
        if item.wire != LENGTH:
            raise ModelError(f"the file is corrupt: initializer with wire type {item.wire} at byte {item.start}")
        pieces.append((kept, item.start))
        tensors.append(scan_tensor(buffer, item))
        kept = item.end
    pieces.append((kept, end))
    return pieces, tensors


def scan_tensor(buffer: memoryview, item: Field) -> TensorRange:
    """The TensorProto in a field: what describes it, and where its payload is."""
    found = TensorRange(item.start)
    header: list[memoryview] = []
    for part in fields(buffer, item.value, item.end, "an initializer"):
        if part.number == RAW_DATA:
            if part.wire != LENGTH or found.raw is not None:
                raise ModelError(f"the file is corrupt: raw_data of the initializer at byte {item.start}")
            found.raw = (part.value, part.end)
        elif part.number in TYPED_DATA:
            found.typed.append(part)
        else:
            header.append(buffer[part.start : part.end])
    found.header = b"".join(header)
    return found
