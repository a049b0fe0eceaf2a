"""What is shipped: a model as a file, and calibration samples as one, opened once, digested, read by every point.

The bytes of all values, input by input, then an index as JSON, then its length. Values are those that the model is
fed: preprocessed, drawn and converted; so every point sees the same, wherever it runs, and the user's code runs once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.data import Calibration
from onnxprune.data.specs import InputSpec
from onnxprune.model.load import Model
from onnxprune.model.save import write

BATCH = 64
_LENGTH = 8
_ALIGNMENT = 64
Array = NDArray[Any]


@dataclass(frozen=True)
class Packed:
    """A file of samples: how many there are, the digest of the file, and where the samples come from, for people."""

    path: Path
    samples: int
    sha256: str
    source: str


def pack(data: Calibration, path: Path) -> Packed:
    """Write all samples to `path`. Raises DataError for values that do not fit, OSError where there is no room."""
    digest = hashlib.sha256()
    index: list[list[dict[str, Any]]] = []
    position = 0
    with open(path, "wb") as file:
        for spec in data.specs:
            runs: list[dict[str, Any]] = []
            for feed in data.batches(BATCH):
                array = _plain(feed[spec.name])
                runs.append({"shape": list(array.shape), "dtype": array.dtype.str, "offset": position})
                position += _put(file, digest, array.tobytes())
            position += _put(file, digest, bytes(-position % _ALIGNMENT))
            index.append(runs)
        text = json.dumps({"names": [spec.name for spec in data.specs], "inputs": index}).encode()
        _put(file, digest, text)
        _put(file, digest, len(text).to_bytes(_LENGTH, "little"))
    return Packed(path, data.samples, digest.hexdigest(), data.source)


def model_file(model: Model, work: Path) -> Path:
    """The file that results are made from: the same bytes, wherever the model came from. `work`: a folder for it."""
    if model.path is not None and model.source is not None:
        return model.path
    target = work / "model.onnx"
    if model.source is not None:
        target.write_bytes(model.source)
    else:
        write(model, target)
    return target


def opened(path: Path, specs: tuple[InputSpec, ...]) -> dict[str, Array] | Callable[[], Iterator[dict[str, Array]]]:
    """The samples as `shrink` takes them: mapped arrays, or a function that yields feeds if their shapes differ."""
    with open(path, "rb") as file:
        file.seek(-_LENGTH, 2)
        length = int.from_bytes(file.read(_LENGTH), "little")
        file.seek(-_LENGTH - length, 2)
        index = json.loads(file.read(length))
    values = np.memmap(path, np.uint8, "r")
    types = {spec.name: spec.numpy for spec in specs}
    whole: dict[str, Array] = {}
    for name, runs in zip(index["names"], index["inputs"], strict=True):
        first = runs[0]
        if any(run["dtype"] != first["dtype"] or run["shape"][1:] != first["shape"][1:] for run in runs):
            return lambda: _feeds(values, index, types)
        rows = sum(run["shape"][0] if run["shape"] else 1 for run in runs)
        whole[name] = _read(values, {**first, "shape": [rows, *first["shape"][1:]]}, types[name])
    return whole


def _feeds(values: Array, index: dict[str, Any], types: dict[str, np.dtype[Any]]) -> Iterator[dict[str, Array]]:
    for runs in zip(*index["inputs"], strict=True):
        yield {name: _read(values, run, types[name]) for name, run in zip(index["names"], runs, strict=True)}


def _put(file: IO[bytes], digest: Any, data: bytes) -> int:
    file.write(data)
    digest.update(data)
    return len(data)


def _plain(array: Array) -> Array:
    """A type that numpy itself knows, for the same bytes: texts of fixed length, numbers of the same width."""
    if array.dtype.kind in "OUT":
        return array.astype(str)
    if array.dtype.isbuiltin != 1:
        array = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
    return np.ascontiguousarray(array) if array.ndim else array


def _read(values: Array, run: dict[str, Any], wanted: np.dtype[Any]) -> Array:
    dtype, shape = np.dtype(run["dtype"]), tuple(run["shape"])
    count = int(np.prod(shape)) * dtype.itemsize
    array: Array = values[run["offset"] : run["offset"] + count].view(dtype).reshape(shape)
    if wanted != dtype:
        array = array.astype(object) if wanted == np.dtype(object) else array.view(wanted)
    return array
