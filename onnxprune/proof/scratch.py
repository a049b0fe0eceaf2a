"""Files that a proof makes on its way: models with more outputs, and arrays."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.errors import OutputError

Feed = Mapping[str, NDArray[Any]]


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


def save(path: Path, arrays: Feed) -> str:
    """Write arrays into one .npz file; texts are stored as such, never pickled. Its name."""
    buffer = io.BytesIO()  # a full disk then fails in one write, not in the middle of an archive
    texts = {name: array.astype(str) if array.dtype == object else array for name, array in arrays.items()}
    np.savez(buffer, **texts)  # type: ignore[arg-type]
    path.write_bytes(buffer.getbuffer())
    return str(path)
