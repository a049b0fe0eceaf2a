"""A model as a file, for whoever runs it: its own, or a temporary one."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxprune.errors import OutputError
from onnxprune.model.load import Model
from onnxprune.model.save import write


@contextlib.contextmanager
def as_file(model: Model | Path) -> Iterator[Path]:
    """The model's own file, where it has one that is not reached through links; else a copy, gone afterwards.

    Raises OutputError if the temporary folder cannot be used.
    """
    path = model if isinstance(model, Path) else _own(model)
    if path is not None:
        yield path
        return
    assert isinstance(model, Model)
    with temporary_folder() as folder:
        path = folder / "model.onnx"
        write(model, path, external_data="always")  # mapped by the runtime, and without a limit of 2 GB
        yield path


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for a model, gone afterwards. Raises OutputError if there cannot be one."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxprune-"))
        except OSError as error:
            raise OutputError(
                f"cannot use the temporary folder {tempfile.gettempdir()!r}: {error.strerror or error}",
                hint="Set TMPDIR to a folder with room for the model.",
            ) from error
        yield Path(folder)


def _own(model: Model) -> Path | None:
    if model.source is None or model.path is None or any(path.is_symlink() for path in model.origin):
        return None
    return model.path
