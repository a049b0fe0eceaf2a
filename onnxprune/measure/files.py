"""A model as a file, for whoever runs it: its own, or a temporary one; for code of the user always a copy."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from onnxprune.errors import OutputError
from onnxprune.model.load import Model, load
from onnxprune.model.save import write_scratch


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
        write_scratch(model, path)  # mapped by the runtime, and without a limit of 2 GB
        yield path


@contextlib.contextmanager
def private_copy(model: Model | Path) -> Iterator[Path]:
    """A copy of a model and its data files for code of the user, gone afterwards.

    That code gets a path, and may do with it what it likes: rewrite the file in place, optimise it, delete it. The
    original, and a result that has been proven, must not change by that. A hard link would share the bytes, and a
    comparison of digests would only tell afterwards that the only original is gone; a copy costs disk and the time to
    write it, which is little beside a metric that runs the model.

    Raises OutputError if the temporary folder cannot be used or has no room, ModelError if a file cannot be read.
    """
    found = load(model) if isinstance(model, Path) else model
    if found.source is None:
        with as_file(found) as path:  # a copy already
            yield path
        return
    with temporary_folder() as folder:
        path = folder / (found.path.name if found.path else "model.onnx")
        try:
            path.write_bytes(found.source)
            for location, file in found.locations.items():
                target = folder / location
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
        except OSError as error:
            raise OutputError(
                f"cannot copy the model for the metric into the temporary folder: {error.strerror or error}",
                hint="Set TMPDIR to a folder with room for the model.",
            ) from error
        yield path


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A folder for a model, gone afterwards. Raises OutputError if there cannot be one."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="onnxprune-", ignore_cleanup_errors=True))
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
