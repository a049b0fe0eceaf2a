"""Reading a model: a ModelProto without payloads, and lazy tensors that point into the memory-mapped file."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto

from onnxprune.errors import ModelError, UsageError
from onnxprune.model import calls, inline, wire
from onnxprune.model.calls import Calls
from onnxprune.model.container import describe_foreign, map_file, open_regular, shown_path
from onnxprune.model.encode import INLINE_LIMIT, Encoding
from onnxprune.model.external import ExternalData
from onnxprune.model.structure import check_structure
from onnxprune.model.tensors import LazyTensor, check_header, check_raw_size, check_typed
from onnxprune.model.validate import check_model, embed_external_tensors

if TYPE_CHECKING:
    import onnx_graphsurgeon

_CHUNK = 1 << 22
_DEFAULT_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A model whose weights stay on disk. `load` makes one, `write` writes it.

    Attributes:
        proto: The skeleton: top-level initializers have everything but their payload.
        tensors: The top-level initializers by name, in file order; read when they are asked for.
        path: The file it was read from, absolute, since code of the user may change the working directory; kept by
            `replace`. None if it was read from memory.
        external_files: Its data files.
        notes: What a reader of the report should know about reading it.
        source: The bytes it was read from; None once `replace` made it another model.
        locations: Where `external_files` are, as the file says (relative, normalised); empty once `replace` made it
            another model.
        label: What a result that is in no file would be called, "m.pruned.onnx"; None for any other model.
        calls: Where calls of functions were written out, how they come back (`inlined`); None for any other model.
    """

    proto: ModelProto
    tensors: Mapping[str, LazyTensor]
    path: Path | None = None
    external_files: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    source: memoryview | None = None
    locations: Mapping[str, Path] = field(default_factory=dict)
    label: str | None = None
    calls: Calls | None = None

    @property
    def name(self) -> str:
        """How results call it: its file, what it would be called, or "model"."""
        if self.label is not None:
            return f"{self.label} (in memory)"
        return "model" if self.path is None else self.path.name

    def __repr__(self) -> str:
        known = self.path is not None or self.label is not None
        name = repr(self.name) if known else "in memory"
        return f"Model({name}: {len(self.proto.graph.node)} nodes, {len(self.tensors)} initializers)"

    def __copy__(self) -> Model:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Model:
        """Its own skeleton; tensors are immutable, and shared."""
        proto = ModelProto()
        proto.CopyFrom(self.proto)
        return replace(self, proto=proto)

    def __reduce__(self) -> tuple[Any, ...]:
        """With all weights, so that it can be read where its files are not. Raises ModelError as reading them does."""
        source = None if self.source is None else bytes(self.source)
        if source is not None and not self.external_files:
            return _from_bytes, (source, self.path)
        parts = (self.proto.SerializeToString(), tuple(self.tensors.values()), self.path, self.external_files)
        known: dict[str, Any] = {} if self.calls is None else {"calls": self.calls}
        known |= {"sha256": self.sha256, "size_bytes": self.size_bytes} if source is not None else {}
        return _from_parts, (*parts, self.notes, source, dict(self.locations), self.label, known)

    @property
    def origin(self) -> tuple[Path, ...]:
        """All files that this model's bytes came from; none of them may be overwritten."""
        return self.external_files if self.path is None else (self.path, *self.external_files)

    @cached_property
    def size_bytes(self) -> int:
        """Bytes of the model file and its data files; of a changed model: as one file."""
        if self.source is None:
            return Encoding(self.outlined().proto, self.tensors).size
        return len(self.source) + sum(os.stat(path).st_size for path in self.external_files)

    @cached_property
    def sha256(self) -> str:
        """Hex digest over the model file, then its data files; of a changed model: over its bytes as one file."""
        digest = hashlib.sha256()
        if self.source is None:
            for chunk in Encoding(self.outlined().proto, self.tensors).chunks():
                digest.update(chunk)
            return digest.hexdigest()
        digest.update(self.source)
        for path in self.external_files:
            with open(open_regular(path, missing=ModelError), "rb") as file:
                while block := file.read(_CHUNK):
                    digest.update(block)
        return digest.hexdigest()

    def release_pages(self) -> None:
        """Let the system take back the memory of the mapped file; it is read again when it is needed."""
        mapped = None if self.source is None else self.source.obj
        if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
            mapped.madvise(mmap.MADV_DONTNEED)

    def opset(self, domain: str = "") -> int:
        """The imported version of an operator domain, 0 if it is not imported. "" and "ai.onnx" are the same."""
        wanted = _DEFAULT_DOMAINS if domain in _DEFAULT_DOMAINS else (domain,)
        return next((entry.version for entry in self.proto.opset_import if entry.domain in wanted), 0)

    def replace(self, proto: ModelProto, tensors: Mapping[str, LazyTensor]) -> Model:
        """Another model from the same source. Takes `proto` over and makes its initializers those of `tensors`.

        Existing entries keep doc_string, metadata_props and unknown fields; payloads come from `tensors` alone.
        """
        own = {name: item if item.name == name else item.renamed(name) for name, item in tensors.items()}
        synchronise(proto, own)
        named = MappingProxyType(own)
        return Model(proto, named, self.path, self.external_files, self.notes, label=self.label, calls=self.calls)

    def inlined(self) -> Model:
        """The same model with calls of its functions written out (inline.py), from the same bytes; itself without."""
        found = None if self.calls is not None or not self.proto.functions else inline.inlined(self.proto)
        return self if found is None else replace(self, proto=found[0], calls=found[1])

    def outlined(self) -> Model:
        """The same model with calls where they were, and nothing in between has changed; itself if there were none."""
        if self.calls is None:
            return self
        return replace(self, proto=calls.outlined(self.proto, self.calls)[0], calls=None)

    def lost_calls(self) -> dict[str, int]:
        """By function ("domain:name"): how many calls stay written out, as something in between has changed."""
        return {} if self.calls is None else calls.outlined(self.proto, self.calls)[1]

    def complete_proto(self) -> ModelProto:
        """A ModelProto with all payloads, in memory. Raises ModelError above 2 GB."""
        encoding = Encoding(self.proto, self.tensors)
        if encoding.size > INLINE_LIMIT:
            raise ModelError(f"the model has {encoding.size} bytes: above 2 GB there is no single ModelProto")
        proto = ModelProto()
        proto.ParseFromString(b"".join(encoding.chunks()))
        return proto

    @classmethod
    def from_graph(cls, graph: onnx_graphsurgeon.Graph) -> Model:
        """The model that a graphsurgeon graph describes; see `onnxprune.model.interop`. Raises ModelError."""
        from onnxprune.model.interop import from_graph

        return load(from_graph(graph))

    def to_graph(self) -> onnx_graphsurgeon.Graph:
        """A graphsurgeon graph in memory; see `onnxprune.model.interop`. Raises ModelError above 2 GB."""
        from onnxprune.model.interop import to_graph

        return to_graph(self.complete_proto(), self.proto)


def synchronise(proto: ModelProto, tensors: Mapping[str, LazyTensor]) -> None:
    """Make the skeleton's initializers agree with `tensors`: same names, order, types and shapes, no payload."""
    graph = proto.graph
    old = {entry.name: entry for entry in graph.initializer}
    entries: list[TensorProto] = []
    for name, tensor in tensors.items():
        header = tensor.header
        known = old.get(name)
        if known is not None:
            entry = TensorProto()
            entry.CopyFrom(known)
            for part in (*wire.TYPED_DATA.values(), "raw_data", "external_data", "data_location", "dims"):
                entry.ClearField(part)
            entry.data_type = header.data_type
            entry.dims.extend(header.dims)
            header = entry
        entries.append(header)
    del graph.initializer[:]
    graph.initializer.extend(entries)


def load(source: str | os.PathLike[str] | bytes | ModelProto) -> Model:
    """Read and validate a model. Payloads are not read: a model of many gigabytes takes little memory.

    Args:
        source: A path, the bytes of a file, or a ModelProto.

    Returns:
        The model; its tensors point into the memory-mapped file.

    Raises:
        UsageError: The path does not exist.
        ModelError: Everything else that is wrong with it.
    """
    if isinstance(source, ModelProto):
        try:
            return _load_buffer(memoryview(source.SerializeToString(deterministic=True)), None)
        except ValueError as error:  # protobuf's EncodeError is one
            raise ModelError(f"the ModelProto cannot be encoded: {error}") from error
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _load_buffer(memoryview(bytes(source)), None)
    if not isinstance(source, (str, os.PathLike)):
        raise UsageError(f"a model is a path, bytes or a ModelProto, found {source!r:.100}")
    text = os.fspath(source)
    if not text or "\0" in text:
        raise UsageError(f"not a path: {text!r}")
    path = Path(text)
    buffer = map_file(open_regular(path))
    try:
        return _load_buffer(buffer, path.absolute())
    except ModelError as error:
        raise ModelError(f"{shown_path(path)}: {error.message}", hint=error.hint) from error


def _from_bytes(source: bytes, path: Path | None) -> Model:
    """A pickled model, from the bytes that it was read from."""
    return _load_buffer(memoryview(source), path)


def _from_parts(
    proto: bytes,
    tensors: tuple[LazyTensor, ...],
    path: Path | None,
    external_files: tuple[Path, ...],
    notes: tuple[str, ...],
    source: bytes | None,
    locations: dict[str, Path],
    label: str | None,
    known: dict[str, Any],
) -> Model:
    """A pickled model that was changed, or has data files. `known` is what only its files say."""
    named = MappingProxyType({tensor.name: tensor for tensor in tensors})
    buffer = None if source is None else memoryview(source)
    skeleton = ModelProto.FromString(proto)
    model = Model(skeleton, named, path, external_files, notes, buffer, MappingProxyType(locations), label)
    vars(model).update(known)
    return model


def _load_buffer(buffer: memoryview, path: Path | None) -> Model:
    try:
        return _parse(buffer, path)
    except ModelError as error:
        foreign = describe_foreign(buffer)
        if foreign is None:
            raise
        raise ModelError(f"this is {foreign[0]}, not an ONNX model", hint=foreign[1]) from error
    except DecodeError as error:
        raise ModelError(f"the file is corrupt: protobuf cannot decode it ({error})") from error


def _parse(buffer: memoryview, path: Path | None) -> Model:
    found = wire.scan(buffer)
    proto = ModelProto.FromString(b"".join(_skeleton(buffer, found)))
    external = ExternalData(path)
    tensors = [_tensor(buffer, part, external) for part in found.tensors]
    proto.graph.initializer.extend(tensor.header for tensor in tensors)
    check_model(proto)
    embed_external_tensors(proto, external)
    external.check_overlaps()
    notes = ("the nodes were not in topological order and have been sorted",) if check_structure(proto) else ()
    by_name = MappingProxyType({tensor.name: tensor for tensor in tensors})
    return Model(proto, by_name, path, external.files, notes, buffer, MappingProxyType(external.locations))


def _skeleton(buffer: memoryview, found: wire.Scan) -> Iterator[bytes | memoryview]:
    """The bytes of the ModelProto without its initializers."""
    size = sum(end - start for start, end in found.pieces)
    total = size + sum(end - start for start, end in (*found.prefix, *found.suffix))
    if total > INLINE_LIMIT:
        raise ModelError(f"the model has {total} bytes besides its initializers; protobuf allows 2 GB")
    for start, end in found.prefix:
        yield buffer[start:end]
    yield wire.tag(wire.GRAPH, wire.LENGTH) + wire.encode_varint(size)
    for start, end in (*found.pieces, *found.suffix):
        yield buffer[start:end]


def _tensor(buffer: memoryview, part: wire.TensorRange, external: ExternalData) -> LazyTensor:
    header = TensorProto.FromString(part.header)
    check_header(header)
    if header.data_location == TensorProto.EXTERNAL:
        if part.raw is not None or part.typed:
            raise ModelError(f"tensor {header.name!r} has both external data and data of its own")
        return external.tensor(header)
    if part.raw is not None:
        if any(item.end > item.value for item in part.typed):
            raise ModelError(f"tensor {header.name!r} has both raw_data and {wire.TYPED_DATA[part.typed[0].number]}")
        start, end = part.raw
        check_raw_size(header, end - start)
        return LazyTensor(header, raw=lambda: buffer[start:end])
    check_typed(header, part.typed, buffer)
    ranges = [(item.start, item.end) for item in part.typed]
    nbytes = sum(item.end - item.value for item in part.typed) if header.data_type == TensorProto.STRING else None
    return LazyTensor(header, typed=lambda: b"".join(buffer[start:end] for start, end in ranges), nbytes=nbytes)
