"""Initializers whose payload is not loaded until somebody asks for it."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from onnxprune.errors import ModelError
from onnxprune.model import wire

FLOATS = frozenset({TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE})
"""The floating-point element types."""

Array = npt.NDArray[Any]

MAX_RANK = 64  # numpy's limit
MAX_BYTES = (1 << 63) - 1

# Element types narrower than a byte, in bits. Their payload is packed, lowest bits first.
_PACKED_BITS = {
    value: bits
    for name, bits in (
        ("UINT4", 4),
        ("INT4", 4),
        ("FLOAT4E2M1", 4),
        ("UINT2", 2),
        ("INT2", 2),
        ("FLOAT6E2M3", 6),
        ("FLOAT6E3M2", 6),
    )
    if (value := getattr(TensorProto, name, None)) is not None
}
# Which typed field carries which element types; all others (16 bits and less, bool) live in int32_data.
_TYPED_FIELD: dict[int, int] = {
    TensorProto.FLOAT: 4,
    TensorProto.COMPLEX64: 4,
    TensorProto.STRING: 6,
    TensorProto.INT64: 7,
    TensorProto.DOUBLE: 10,
    TensorProto.COMPLEX128: 10,
    TensorProto.UINT32: 11,
    TensorProto.UINT64: 11,
}
_INT32_DATA = 5


def dtype_name(dtype: int) -> str:
    """The ONNX name of an element type, for messages."""
    return TensorProto.DataType.Name(dtype) if dtype in TensorProto.DataType.values() else f"type {dtype}"


def known_dtype(dtype: int) -> bool:
    """Whether the installed onnx knows this element type and numpy can hold it."""
    return dtype in helper.get_all_tensor_dtypes()


def payload_bytes(dtype: int, shape: tuple[int, ...]) -> int:
    """Bytes of a dense payload. Python integers: cannot overflow."""
    count = math.prod(shape)
    bits = _PACKED_BITS.get(dtype)
    if bits is not None:
        return (count * bits + 7) // 8
    return count * int(helper.tensor_dtype_to_np_dtype(dtype).itemsize)


def check_header(header: TensorProto) -> None:
    """Raise ModelError unless type and dimensions make sense. Allocates nothing."""
    name, dims = header.name, tuple(header.dims)
    if not known_dtype(header.data_type):
        raise ModelError(f"tensor {name!r} has the unknown element {dtype_name(header.data_type)}")
    if header.HasField("segment"):
        raise ModelError(f"tensor {name!r} is stored in segments, which is not supported")
    if len(dims) > MAX_RANK:
        raise ModelError(f"tensor {name!r} has {len(dims)} dimensions; at most {MAX_RANK} are supported")
    if any(dim < 0 for dim in dims):
        raise ModelError(f"tensor {name!r} has a negative dimension: {list(dims)}")
    # Zero-sized tensors count too: numpy multiplies the other dimensions all the same.
    if payload_bytes(header.data_type, tuple(dim or 1 for dim in dims)) > MAX_BYTES:
        raise ModelError(f"tensor {name!r} is too large: its dimensions {list(dims)} overflow")


def check_raw_size(header: TensorProto, size: int) -> None:
    """Raise ModelError unless a raw payload of `size` bytes is what the shape needs."""
    if header.data_type == TensorProto.STRING:
        raise ModelError(f"tensor {header.name!r} holds strings, which cannot be stored as raw data")
    expected = payload_bytes(header.data_type, tuple(header.dims))
    if size != expected:
        raise ModelError(
            f"tensor {header.name!r} holds {size} bytes, but {dtype_name(header.data_type)} "
            f"{list(header.dims)} needs {expected}"
        )


def check_typed(header: TensorProto, parts: list[wire.Field], buffer: memoryview) -> None:
    """Raise ModelError unless the typed payload is in the right field and has as many values as the shape."""
    dtype = header.data_type
    number = _TYPED_FIELD.get(dtype, _INT32_DATA)
    wrong = [wire.TYPED_DATA[part.number] for part in parts if part.number != number]
    if wrong:
        raise ModelError(
            f"tensor {header.name!r} of type {dtype_name(dtype)} keeps its values in {wrong[0]}, "
            f"not in {wire.TYPED_DATA[number]}"
        )
    expected = math.prod(header.dims)
    if dtype in (TensorProto.COMPLEX64, TensorProto.COMPLEX128):
        expected *= 2
    elif dtype in _PACKED_BITS:
        expected = payload_bytes(dtype, tuple(header.dims))
    found = sum(_count_values(part, buffer, header.name) for part in parts)
    if found != expected:
        raise ModelError(
            f"tensor {header.name!r} holds {found} values in {wire.TYPED_DATA[number]}, "
            f"but {dtype_name(dtype)} {list(header.dims)} needs {expected}"
        )


def _count_values(part: wire.Field, buffer: memoryview, name: str) -> int:
    """How many values one occurrence of a typed data field carries (packed or not)."""
    fixed = {4: 4, 10: 8}.get(part.number)
    if part.number == 6:
        return 1
    if part.wire != wire.LENGTH:
        return 1
    size = part.end - part.value
    if fixed is not None:
        if size % fixed:
            raise ModelError(f"tensor {name!r} is corrupt: {size} bytes of {wire.TYPED_DATA[part.number]}")
        return size // fixed
    # Varints: every value ends with the one byte whose top bit is clear.
    return int(np.count_nonzero(np.frombuffer(buffer[part.value : part.end], np.uint8) < 0x80))


class LazyTensor:
    """One initializer. Immutable; the payload stays in the memory-mapped file until `array` or `payload` is called.

    name: as in the graph. dtype: onnx.TensorProto.DataType. shape: dimensions. nbytes: bytes of the payload.
    """

    __slots__ = ("_header", "_raw", "_typed", "dtype", "name", "nbytes", "shape")

    def __init__(
        self,
        header: TensorProto,
        *,
        raw: Callable[[], memoryview] | None = None,
        typed: Callable[[], bytes] | None = None,
        nbytes: int | None = None,
    ) -> None:
        """`header` has everything but the payload; `raw` gives it as bytes, `typed` as encoded protobuf fields."""
        self._header = header
        self._raw = raw
        self._typed = typed
        self.name: str = header.name
        self.dtype: int = header.data_type
        self.shape: tuple[int, ...] = tuple(header.dims)
        if nbytes is None:
            nbytes = payload_bytes(self.dtype, self.shape)
        self.nbytes: int = nbytes

    def __repr__(self) -> str:
        return f"LazyTensor({self.name!r}, {dtype_name(self.dtype)}, {list(self.shape)})"

    def __deepcopy__(self, memo: dict[int, Any]) -> LazyTensor:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """With its payload. Raises ModelError if that is in a file that is gone."""
        head, body = self.payload_field()
        raw = self._raw is not None
        return _unpickled, (
            self._header.SerializeToString(),
            bytes(body) if raw else head + bytes(body),
            raw,
            self.nbytes,
        )

    @property
    def header(self) -> TensorProto:
        """A copy of the TensorProto without its payload: name, dims, type, doc_string, metadata_props."""
        header = TensorProto()
        header.CopyFrom(self._header)
        return header

    @property
    def has_raw_form(self) -> bool:
        """Whether the payload can be raw bytes; strings cannot."""
        return self.dtype != TensorProto.STRING

    def array(self) -> Array:
        """The values, read-only. A view on the file (possibly unaligned) for all types of a byte and more."""
        if self._raw is None or self.dtype in _PACKED_BITS or sys.byteorder == "big":
            array = numpy_helper.to_array(self.to_proto())
        else:
            array = np.frombuffer(self._raw(), helper.tensor_dtype_to_np_dtype(self.dtype)).reshape(self.shape)
        if array.flags.writeable:
            array = array.view()
            array.flags.writeable = False
        return array

    def payload(self) -> memoryview:
        """The values as raw little-endian bytes, 4-bit and 2-bit types packed. Strings have none: ModelError."""
        if self.dtype == TensorProto.STRING:
            raise ModelError(f"tensor {self.name!r} holds strings, which have no raw form")
        return self._raw() if self._raw is not None else _array_bytes(self.array())

    def payload_field(self) -> tuple[bytes, memoryview]:
        """The payload as encoded protobuf: some bytes, then more bytes that are not copied."""
        if self._raw is not None:
            raw = self._raw()
            return wire.tag(wire.RAW_DATA, wire.LENGTH) + wire.encode_varint(len(raw)), raw
        assert self._typed is not None
        return b"", memoryview(self._typed())

    def payload_field_size(self) -> int:
        """Bytes that `payload_field` will give."""
        if self._raw is not None:
            return 1 + len(wire.encode_varint(self.nbytes)) + self.nbytes
        return len(self.payload_field()[1])

    def to_proto(self) -> TensorProto:
        """The complete TensorProto, with doc_string and metadata_props. Copies the payload."""
        proto = self.header
        head, body = self.payload_field()
        proto.MergeFromString(head + bytes(body))
        return proto

    def renamed(self, name: str) -> LazyTensor:
        """The same values under another name."""
        header = self.header
        header.name = name
        return LazyTensor(header, raw=self._raw, typed=self._typed, nbytes=self.nbytes)

    def with_array(self, array: Array) -> LazyTensor:
        """Other values (any shape) under the same name, element type, doc_string and metadata_props."""
        return _in_memory(self.header, array)

    @staticmethod
    def from_array(name: str, array: Array, dtype: int | None = None) -> LazyTensor:
        """A tensor in memory. `dtype` (onnx.TensorProto.DataType) converts; default: the array's own type.

        The array is not copied; do not change it afterwards.
        """
        if dtype is None:
            is_text = array.dtype.kind in "OSU"
            dtype = int(TensorProto.STRING if is_text else helper.np_dtype_to_tensor_dtype(_native(array).dtype))
        return _in_memory(TensorProto(name=name, data_type=dtype), array)


def _unpickled(header: bytes, payload: bytes, raw: bool, nbytes: int) -> LazyTensor:
    known = TensorProto.FromString(header)
    if raw:
        return LazyTensor(known, raw=lambda: memoryview(payload), nbytes=nbytes)
    return LazyTensor(known, typed=lambda: payload, nbytes=nbytes)


def _in_memory(header: TensorProto, array: Array) -> LazyTensor:
    array = np.asarray(array)
    del header.dims[:]
    header.dims.extend(array.shape)
    if header.data_type == TensorProto.STRING:
        values = TensorProto(string_data=numpy_helper.from_array(array.astype(object)).string_data)
        encoded = values.SerializeToString()
        return LazyTensor(header, typed=lambda: encoded, nbytes=sum(map(len, values.string_data)))
    array = _native(array).astype(helper.tensor_dtype_to_np_dtype(header.data_type), copy=False)
    raw = _array_bytes(array)
    return LazyTensor(header, raw=lambda: raw)


def _native(array: Array) -> Array:
    """The array in this machine's byte order."""
    return array.astype(array.dtype.newbyteorder("=")) if array.dtype.byteorder in "<>" else array


def _array_bytes(array: Array) -> memoryview:
    """Raw little-endian bytes of an array; a view where possible."""
    dtype = int(helper.np_dtype_to_tensor_dtype(array.dtype))
    if dtype in _PACKED_BITS or sys.byteorder == "big":
        return memoryview(numpy_helper.from_array(array).raw_data)
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data.toreadonly()
