"""Files: opening only what is safe to open, and recognising what is not an ONNX model."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable
from pathlib import Path

from onnxprune.errors import ModelError, UsageError

PACKED_MAGIC = b"\x89ONXPK\r\n"
"""The first bytes of what `onnxprune pack` writes; a line end that some transfer changed shows in them."""

_SIGNATURES: tuple[tuple[int, bytes, str, str], ...] = (
    (
        0,
        b"version https://git-lfs",
        "a Git LFS pointer, not the model itself",
        "Run `git lfs pull` to fetch the model.",
    ),
    (0, PACKED_MAGIC, "a model packed by `onnxprune pack`", "Unpack it first: onnxprune unpack FILE."),
    (0, b"\x1f\x8b", "a gzip archive", "Unpack it first."),
    (0, b"PK\x03\x04", "a zip archive (PyTorch checkpoints are, too)", "Unpack it, or export the model to ONNX."),
    (0, b"\x89HDF", "an HDF5 file (Keras)", "Export the model to ONNX first."),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive", "Unpack it first."),
    (0, b"BZh", "a bzip2 archive", "Unpack it first."),
    (0, b"\xfd7zXZ", "an xz archive", "Unpack it first."),
    (0, b"\x80\x02", "a pickle (PyTorch)", "Export the model to ONNX first."),
    (0, b"\x80\x04", "a pickle", "Export the model to ONNX first."),
    (4, b"ORTM", "an ONNX Runtime .ort file", "Use the .onnx file it was made from."),
    (4, b"TFL3", "a TensorFlow Lite file", "Convert the model to ONNX first."),
    (8, b'{"', "a safetensors file", "Export the model to ONNX first."),
    (0, b"<!DOCTYPE", "an HTML page", "The download probably failed."),
    (0, b"<html", "an HTML page", "The download probably failed."),
)
_SNIFF = 512


def shown_path(path: Path) -> str:
    """A path as people gave it: relative where it is below the working directory."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def open_regular(path: Path, *, follow: bool = True, missing: type[ModelError | UsageError] = UsageError) -> int:
    """Open an existing regular file for reading; the file descriptor. Never blocks on a FIFO or a device.

    Raises `missing` if there is no such file, ModelError for anything that is not a readable regular file.
    """
    shown = repr(shown_path(path))
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    if not follow:
        flags |= getattr(os, "O_NOFOLLOW", 0)
    try:
        # Looked at before it is opened: opening alone can have effects on a device.
        _require_regular(os.stat(path), shown)
        descriptor = os.open(path, flags)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise missing(f"no such file: {shown}") from error
    except (OSError, ValueError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ModelError(f"cannot read {shown}: {reason}") from error
    try:
        _require_regular(os.fstat(descriptor), shown)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _require_regular(status: os.stat_result, shown: str) -> None:
    kinds: tuple[tuple[Callable[[int], bool], str], ...] = (
        (stat.S_ISDIR, "a directory"),
        (stat.S_ISFIFO, "a pipe"),
        (stat.S_ISCHR, "a device"),
        (stat.S_ISBLK, "a device"),
        (stat.S_ISSOCK, "a socket"),
    )
    if not stat.S_ISREG(status.st_mode):
        kind = next((word for test, word in kinds if test(status.st_mode)), "a special file")
        raise ModelError(f"{shown} is {kind}, not a regular file")


def map_file(descriptor: int) -> memoryview:
    """Map a whole file, read-only; closes the descriptor. Zero bytes map to an empty view."""
    try:
        if os.fstat(descriptor).st_size == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError, OverflowError) as error:
        raise ModelError(f"cannot map the file into memory: {error}") from error
    finally:
        os.close(descriptor)


def describe_foreign(buffer: memoryview) -> tuple[str, str | None] | None:
    """What a file that is not an ONNX model seems to be, and what to do about it; None if it could be one."""
    head = bytes(buffer[:_SNIFF])
    if not head:
        return "an empty file", "The export or the download probably failed."
    for offset, magic, kind, hint in _SIGNATURES:
        if head[offset : offset + len(magic)] == magic:
            return kind, hint
    try:
        text = head.decode("ascii")
    except UnicodeDecodeError:
        return None
    if all(character.isprintable() or character in "\r\n\t\f" for character in text):
        return "a text file", None
    return None
