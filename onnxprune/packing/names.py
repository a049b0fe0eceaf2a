"""The names of the files that a packed file holds, which must not lead elsewhere."""

from __future__ import annotations

import posixpath
from pathlib import Path

from onnxprune.errors import ModelError
from onnxprune.packing.reader import Packed


def data_names(packed: Packed, target: Path) -> list[str]:
    """The names of the data files. Raises ModelError for one that leads elsewhere, or is there twice."""
    names = [file.name for file in packed.directory.files[1:]]
    for name in names:
        bad = not name or name in (".", "..") or posixpath.basename(name) != name or "\\" in name or "\0" in name
        if bad or ":" in name:
            raise ModelError(f"{packed.path}: a data file of the packed model is called {name!r}: not a plain name")
    if len({target.name, *names}) != len(names) + 1:
        raise ModelError(
            f"{packed.path}: two files of the packed model would be called the same",
            hint="Choose another name for the output.",
        )
    return names
