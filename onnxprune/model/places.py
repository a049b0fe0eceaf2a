"""Where in its files the payload of each tensor lies, for those that read and write files byte by byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onnx import NodeProto, TensorProto

from onnxprune.model import wire
from onnxprune.model.external import normalised, parse_entry
from onnxprune.model.load import Model
from onnxprune.model.tensors import payload_bytes

_NODE, _ATTRIBUTE, _TENSOR = 1, 5, 5  # fields of GraphProto, NodeProto, AttributeProto
_FLOAT_DATA = 4


@dataclass(frozen=True)
class Span:
    """Bytes `[start, end)` of the model file (location "") or of the data file at a normalised location."""

    location: str
    start: int
    end: int


@dataclass(frozen=True)
class Payload:
    """The values of a tensor as little-endian bytes. dtype: onnx.TensorProto.DataType."""

    span: Span
    dtype: int
    shape: tuple[int, ...]


def payloads(model: Model, least: int = 1) -> dict[str, Payload]:
    """Initializers, and outputs of Constant nodes (not those in subgraphs), of `least` bytes and more: where their
    values are; without those that are stored in another form.

    `model` is as it was read: its `source` is set.
    """
    assert model.source is not None
    found = wire.scan(model.source)
    result: dict[str, Payload] = {}
    for name, part in [*_constants(model.source, found.pieces, least), *((None, part) for part in found.tensors)]:
        header = TensorProto.FromString(part.header)
        span = _span(header, part)
        if span is not None and span.end - span.start >= least:
            result[header.name if name is None else name] = Payload(span, header.data_type, tuple(header.dims))
    return result


def _constants(
    buffer: memoryview, pieces: list[tuple[int, int]], least: int
) -> Iterator[tuple[str | None, wire.TensorRange]]:
    """(output, tensor) of the Constant nodes of the graph, by walking its bytes."""
    for start, end in pieces:
        for item in wire.fields(buffer, start, end, "the graph"):
            if item.number != _NODE or item.wire != wire.LENGTH or item.end - item.value < least:
                continue
            parts = list(wire.fields(buffer, item.value, item.end, "a node"))
            attributes = [part for part in parts if part.number == _ATTRIBUTE]
            rest = (buffer[part.start : part.end] for part in parts if part.number != _ATTRIBUTE)
            node = NodeProto.FromString(b"".join(rest))
            if node.op_type != "Constant" or node.domain not in ("", "ai.onnx") or len(attributes) != 1:
                continue
            for part in wire.fields(buffer, attributes[0].value, attributes[0].end, "an attribute"):
                if part.number == _TENSOR and part.wire == wire.LENGTH:
                    yield node.output[0], wire.scan_tensor(buffer, part)


def _span(header: TensorProto, part: wire.TensorRange) -> Span | None:
    if header.data_location == TensorProto.EXTERNAL:
        entry = parse_entry(header.name, header.external_data)
        length = payload_bytes(header.data_type, tuple(header.dims))
        return Span(normalised(entry.location), entry.offset, entry.offset + length)
    if part.raw is not None:
        return Span("", *part.raw)
    if header.data_type == TensorProto.FLOAT and len(part.typed) == 1:
        (typed,) = part.typed
        if typed.number == _FLOAT_DATA and typed.wire == wire.LENGTH:  # packed floats are the same bytes as raw ones
            return Span("", typed.value, typed.end)
    return None
