"""Values in files: as text and arrays in one .npz, read without pickle."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from onnxprune.results.kept.codec import Types, Unreadable, decoded

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TEXT = "text"


def put(file: IO[bytes], text: str, arrays: list[NDArray[Any]]) -> None:
    """Write what `encoded` gave of a value."""
    import numpy as np  # here, so that --help need not wait for it

    named: dict[str, Any] = {str(number): array for number, array in enumerate(arrays)}
    np.savez(file, **named | {_TEXT: np.frombuffer(text.encode(), np.uint8)})


def taken(path: Path, types: Types = ()) -> Any:
    """The value of a file. Raises Unreadable for what is not there, or not whole."""
    import numpy as np

    try:
        with open(path, "rb") as opened, np.load(opened, allow_pickle=False) as file:
            arrays = [file[str(number)] for number in range(len(file.files) - 1)]
            return decoded(file[_TEXT].tobytes().decode(), arrays, types)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise Unreadable(str(error)) from error
