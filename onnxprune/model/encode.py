"""A model as a stream of bytes: the skeleton's fields, with each payload put back into its place, nothing copied."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from google.protobuf.message import EncodeError
from onnx import ModelProto, TensorProto

from onnxprune.errors import ModelError
from onnxprune.model import wire
from onnxprune.model.tensors import LazyTensor

# Protobuf refuses larger messages, and so do onnx and ONNX Runtime.
INLINE_LIMIT = (1 << 31) - 1


@dataclass(frozen=True)
class Place:
    """Where in the external data file a payload goes, in bytes."""

    offset: int
    length: int


class Encoding:
    """A skeleton and its tensors, ready to be written; `size` is the exact number of bytes of `chunks`.

    `places` are the payloads that go to the data file, in order of their offsets.
    """

    def __init__(
        self,
        proto: ModelProto,
        tensors: Mapping[str, LazyTensor],
        location: str = "",
        places: Mapping[str, Place] | None = None,
    ) -> None:
        """Tensors in `places` go to the external file `location`. The skeleton lists `tensors` in their order."""
        try:
            self._skeleton = memoryview(proto.SerializeToString(deterministic=True))
        except (EncodeError, ValueError) as error:
            raise ModelError(f"the model cannot be encoded: {error}") from error
        self._scan = wire.scan(self._skeleton)
        self._tensors = list(tensors.values())
        self.places = dict(places or {})
        self._headers: list[bytes] = []
        self._places = [self.places.get(tensor.name) for tensor in self._tensors]
        for found, place in zip(self._scan.tensors, self._places, strict=True):
            self._headers.append(found.header if place is None else found.header + _reference(location, place))
        self._sizes = [
            len(header) + (0 if place is not None else tensor.payload_field_size())
            for header, place, tensor in zip(self._headers, self._places, self._tensors, strict=True)
        ]
        kept = sum(end - start for start, end in self._scan.pieces)
        self._graph_size = kept + sum(len(self._entry_head(size)) + size for size in self._sizes)
        around = sum(end - start for start, end in (*self._scan.prefix, *self._scan.suffix))
        self.size = around + len(self._graph_head()) + self._graph_size

    def _graph_head(self) -> bytes:
        return wire.tag(wire.GRAPH, wire.LENGTH) + wire.encode_varint(self._graph_size)

    @staticmethod
    def _entry_head(size: int) -> bytes:
        return wire.tag(wire.INITIALIZER, wire.LENGTH) + wire.encode_varint(size)

    def chunks(self) -> Iterator[bytes | memoryview]:
        """The bytes of the ModelProto, in order."""
        yield from self._slices(self._scan.prefix)
        yield self._graph_head()
        for index, piece in enumerate(self._scan.pieces):
            yield from self._slices([piece])
            if index == len(self._tensors):
                break
            yield self._entry_head(self._sizes[index])
            yield self._headers[index]
            if self._places[index] is None:
                yield from self._tensors[index].payload_field()
        yield from self._slices(self._scan.suffix)

    def _slices(self, ranges: Sequence[tuple[int, int]]) -> Iterator[memoryview]:
        for start, end in ranges:
            yield self._skeleton[start:end]


def _reference(location: str, place: Place) -> bytes:
    """The external_data fields of one tensor."""
    proto = TensorProto(data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", str(place.offset)), ("length", str(place.length))):
        proto.external_data.add(key=key, value=value)
    return bytes(proto.SerializeToString())
