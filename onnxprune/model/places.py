"""Where in its files the payload of each initializer lies, for those that read and write files byte by byte."""

from __future__ import annotations

from dataclasses import dataclass

from onnx import TensorProto

from onnxprune.model import wire
from onnxprune.model.external import normalised, parse_entry
from onnxprune.model.load import Model
from onnxprune.model.tensors import payload_bytes

_FLOAT_DATA = 4


@dataclass(frozen=True)
class Span:
    """Bytes `[start, end)` of the model file (location "") or of the data file at a normalised location."""

    location: str
    start: int
    end: int


def payload_spans(model: Model) -> dict[str, Span]:
    """Initializer -> where its values are, as little-endian bytes; without those that are stored in another form.

    `model` is as it was read: its `source` is set.
    """
    assert model.source is not None
    spans: dict[str, Span] = {}
    for part in wire.scan(model.source).tensors:
        header = TensorProto.FromString(part.header)
        span = _span(header, part)
        if span is not None:
            spans[header.name] = span
    return spans


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
