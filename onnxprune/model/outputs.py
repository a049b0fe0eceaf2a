"""Writing small files next to a result: all or nothing, never over an input, over something else only by force."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from pathlib import Path

from onnxprune.errors import OutputError
from onnxprune.model.container import shown_path


def check_target(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise OutputError if `path` may not be written; before the long part of a run rather than after it."""
    from onnxprune.model import check_output

    check_output(path, force=force, inputs=inputs)


def write_text(path: Path, text: str, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Write a whole text file or nothing. Raises OutputError."""
    check_target(path, force=force, inputs=inputs)
    temporary = None
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:100]}.", suffix=".tmp")
        with open(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise OutputError(f"cannot write {shown_path(path)!r}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            os.unlink(temporary)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
