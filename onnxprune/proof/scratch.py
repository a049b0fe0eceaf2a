"""Files that a proof makes on its way: models with more outputs, and arrays."""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import OutputError

Feed = Mapping[str, NDArray[Any]]
ALIGNED_BYTES = 64


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A temporary folder. Raises OutputError if it cannot be written to."""
    try:
        with tempfile.TemporaryDirectory(prefix="onnxprune-") as folder:
            yield Path(folder)
    except OSError as error:
        raise OutputError(
            f"the proof cannot use the temporary folder {tempfile.gettempdir()!r}: {error.strerror or error}",
            hint="Set TMPDIR to a folder with room for twice the model.",
        ) from error


Place = tuple[str, int, str, Sequence[int]]
"""Where an array is: file, offset in bytes, type, shape."""


def save(path: Path, arrays: Feed) -> str:
    """Write named arrays into one file, for `load`; texts are stored as such, never pickled. Its name.

    No .npz: a long network has hundreds of masks, and reading one of those takes longer than running the network.
    """
    buffer = io.BytesIO()  # a full disk then fails in one write, not in the middle of an array
    places = [(name, *_put(buffer, array)) for name, array in arrays.items()]
    path.write_bytes(buffer.getbuffer())
    path.with_name(f"{path.name}.names").write_text(json.dumps(places))
    return str(path)


def load(path: str) -> dict[str, NDArray[Any]]:
    """The arrays of a file that `save` wrote."""
    whole = np.fromfile(path, np.uint8)
    places = json.loads(Path(f"{path}.names").read_text())
    return {name: _array(whole[offset:], kind, shape) for name, offset, kind, shape in places}


def append(path: Path, values: Iterable[object]) -> list[Place | None]:
    """Write arrays one behind the other into a file: where each is, for `read`; None for what is no array of numbers.

    Not a file each: where every value of a long network is compared on many inputs, they would be 100,000.
    """
    with path.open("wb") as file:
        numbers = (v if isinstance(v, np.ndarray) and v.dtype != object else None for v in values)
        return [None if value is None else (str(path), *_put(file, value)) for value in numbers]


def read(place: Place) -> NDArray[Any]:
    """The array at a place, from this process or another."""
    path, offset, kind, shape = place
    return _array(np.fromfile(path, np.uint8, _bytes(kind, shape), offset=offset), kind, shape)


def _put(file: io.BufferedIOBase, array: NDArray[Any]) -> tuple[int, str, tuple[int, ...]]:
    """Write an array where the runtime can use it in place: its offset, type and shape."""
    file.write(b"\0" * (-file.tell() % ALIGNED_BYTES))
    offset = file.tell()
    plain = array.astype(str) if array.dtype == object else array
    file.write(np.ascontiguousarray(plain).reshape(-1).view(np.uint8).data)
    return offset, plain.dtype.str, plain.shape


def _bytes(kind: str, shape: Sequence[int]) -> int:
    return math.prod(shape) * np.dtype(kind).itemsize


def _array(data: NDArray[np.uint8], kind: str, shape: Sequence[int]) -> NDArray[Any]:
    return data[: _bytes(kind, shape)].view(kind).reshape(shape)
