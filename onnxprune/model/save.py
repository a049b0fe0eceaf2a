"""Writing a model: all or nothing.

Everything is written into a fresh hidden folder beside the target (`.NAME.RANDOM.tmp`), under the final file names.
So the staged model can be loaded and verified, external data included, and committing is renaming: the data file
first, the .onnx last. Large models have one data file, `NAME.data` for an output called NAME. If renaming fails in
between, the previous data file is put back. Writers of the same folder wait for each other while they commit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal

from onnxprune.errors import OnnxPruneError, OutputError, UsageError
from onnxprune.model.abandoned import OLD, held, staging_name
from onnxprune.model.container import shown_path
from onnxprune.model.encode import INLINE_LIMIT, Encoding, Place
from onnxprune.model.load import Model, load
from onnxprune.model.tensors import LazyTensor

if TYPE_CHECKING:
    from typing_extensions import Self

ExternalDataMode = Literal["auto", "always", "never"]

EXTERNAL_THRESHOLD = 1024  # bytes; smaller tensors stay inline, where shape inference can see them
_LARGE = 1 << 20  # bytes; from here on offsets can be memory-mapped on every system
_LARGE_ALIGNMENT = 1 << 16
_ALIGNMENT = 64
_CHUNK = 1 << 24  # bytes written at once


def write(
    model: Model,
    path: str | os.PathLike[str],
    *,
    external_data: ExternalDataMode = "auto",
    force: bool = False,
    inputs: Sequence[Path] = (),
) -> tuple[Path, ...]:
    """Write a model: all or nothing, renamed into place when it is complete.

    Args:
        model: That `load` or `Model.replace` gave.
        path: Of the .onnx file.
        external_data: Whether weights go to a file of their own, NAME.data: "auto" (above 2 GB), "always" or "never".
        force: Whether files that are there may be replaced.
        inputs: Files that must stay, whatever `force` says; those that the model was read from always do.

    Returns:
        The files written, the .onnx first.

    Raises:
        UsageError: It is no model, or no path.
        OutputError: It cannot be written, or something is there.
    """
    if not isinstance(model, Model):
        raise UsageError(f"model is a Model of load, found {model!r:.100}")
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"path is a path, found {path!r:.100}")
    with Staged(model, path, external_data=external_data, force=force, inputs=inputs) as staged:
        return staged.commit()


def write_scratch(model: Model, path: Path) -> None:
    """Write a model for a moment, its weights in a file of their own, into a folder that goes afterwards.

    Neither staged nor waited for: whatever happens, nobody relies on it. Raises OutputError.
    """
    encoding = _encoding(model, path, "always")
    with _output_errors(path):
        if encoding.places:
            _write_file(path.with_name(_data_name(path)), _data_chunks(model.tensors, encoding.places), durable=False)
        _write_file(path, encoding.chunks(), durable=False)


def written_bytes(model: Model, path: str | os.PathLike[str], *, external_data: ExternalDataMode = "auto") -> int:
    """How many bytes `write` would write, the data file included. Raises OutputError."""
    encoding = _encoding(model.outlined(), Path(path), external_data)
    return encoding.size + max((place.offset + place.length for place in encoding.places.values()), default=0)


class StagedFiles:
    """Written but not yet published files of one folder; `commit` publishes them, leaving removes the rest.

    They are written into `folder`, under their final names; the first of the names is the last to be renamed.
    """

    def __init__(self, target: Path, names: Sequence[str], *, force: bool, protected: Sequence[Path]) -> None:
        """`target` is absolute, `names[0]` its name; `protected` files are never replaced. Raises OutputError."""
        self.target = target
        self._names = list(names)
        self._force, self._protected = force, tuple(protected)
        with _output_errors(target):
            self._check_targets()
        self.folder = target.parent / staging_name(target, secrets.token_hex(8))
        self.path = self.folder / target.name
        # Before the folder exists, so that no interrupt falls in between; runs at the latest when the interpreter ends.
        self._lock: list[int] = []
        self._remove = weakref.finalize(self, _remove_folder, self.folder, self._lock)
        try:
            with _output_errors(target):
                os.mkdir(self.folder, 0o700)
                self._lock += [one for one in [held(self.folder)] if one is not None]
        except BaseException:
            self._remove()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    @property
    def outputs(self) -> tuple[Path, ...]:
        """The files that `commit` will make, in the order of the names."""
        return tuple(self.target.parent / name for name in self._names)

    def write(self, name: str, chunks: Iterable[bytes | memoryview]) -> None:
        """Write one of the files to the disk. Raises OutputError."""
        with _output_errors(self.target):
            _write_file(self.folder / name, chunks)

    def _check_targets(self) -> None:
        for target in self.outputs:
            check_output(target, force=self._force, inputs=self._protected)

    def commit(self) -> tuple[Path, ...]:
        """Publish; the files written. Raises OutputError, and then nothing has changed."""
        with _output_errors(self.target), _locked(self.target.parent):
            self._check_targets()
            undo: list[tuple[Path, Path | None]] = []
            try:
                for target in reversed(self.outputs):
                    undo.append((target, self._keep(target)))
                    os.replace(self.folder / target.name, target)
            except BaseException:
                self._roll_back(undo)
                raise
            _sync_folder(self.target.parent)
        self._remove()
        return self.outputs

    def _keep(self, target: Path) -> Path | None:
        """A second name for what is there now, to put it back from."""
        if not os.path.lexists(target):
            return None
        kept = self.folder / f"{target.name}{OLD}"
        try:
            os.link(target, kept, follow_symlinks=False)
        except (OSError, NotImplementedError):  # a file system without hard links
            os.replace(target, kept)
        return kept

    def _roll_back(self, undo: Iterable[tuple[Path, Path | None]]) -> None:
        for target, kept in undo:
            staged = self.folder / target.name
            if staged.exists():  # was not renamed yet
                if kept is not None and not os.path.lexists(target):
                    os.replace(kept, target)
            elif kept is not None:
                os.replace(kept, target)
            else:
                os.unlink(target)


class Staged(StagedFiles):
    """A written but not yet published model. `path` can be loaded; `commit` publishes; leaving removes the rest.

    After it, `left_over` is the data file that the replaced model read and the new one does not, if there is one. It is
    not deleted: a copy of the replaced model may read it too, nobody here can know, and weights do not come back.
    """

    left_over: Path | None = None

    def __init__(
        self,
        model: Model,
        path: str | os.PathLike[str],
        *,
        external_data: ExternalDataMode = "auto",
        force: bool = False,
        inputs: Sequence[Path] = (),
    ) -> None:
        """Write a model beside its target, without touching the target yet.

        external_data: "auto" splits models above 2 GB, "always" all, "never" none. force: replace existing outputs.
        inputs: files that must never be replaced, besides those the model itself came from.
        Raises OutputError.
        """
        target = output_path(path)
        model = model.outlined()
        encoding = _encoding(model, target, external_data)
        names = [target.name] + ([_data_name(target)] if encoding.places else [])
        super().__init__(target, names, force=force, protected=(*model.origin, *inputs))
        try:
            if encoding.places:
                self.write(_data_name(target), _data_chunks(model.tensors, encoding.places))
            self.write(target.name, encoding.chunks())
        except BaseException:
            self._remove()
            raise

    def commit(self) -> tuple[Path, ...]:
        left_over = self._unread()
        written = super().commit()
        self.left_over = left_over
        return written

    def _unread(self) -> Path | None:
        data = self.target.with_name(_data_name(self.target))
        if data in self.outputs or not os.path.lexists(data):
            return None
        with contextlib.suppress(OnnxPruneError, OSError):  # what is replaced need not be a model
            return data if data.name in load(self.target).locations else None
        return None


def output_path(path: str | os.PathLike[str]) -> Path:
    """Absolute at once: the working directory may change before the commit. Raises OutputError."""
    return Path(os.path.abspath(_checked_name(path)))


def check_output(path: Path, *, force: bool, inputs: Iterable[Path] = ()) -> None:
    """Raise OutputError unless `path` may be written: no input, and new or (with `force`) an ordinary file."""
    shown = shown_path(path)
    for item in inputs:
        with contextlib.suppress(OSError):  # an input that is gone cannot be overwritten
            if os.path.abspath(item) == os.path.abspath(path) or os.path.samefile(item, path):
                raise OutputError(
                    f"the output {shown!r} is an input file ({shown_path(item)!r})", hint="Choose another."
                )
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise OutputError(f"the folder {shown_path(path.parent)!r} does not exist") from None
        return
    if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
        raise OutputError(f"the output {shown!r} exists and is not a regular file")
    if not force:
        raise OutputError(f"the output {shown!r} exists", hint="Use --force to replace it.")


def _checked_name(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path)
    if not text or "\0" in text or text.endswith(("/", os.sep)) or os.path.basename(text) in (".", ".."):
        raise OutputError(f"the output {text!r} is not a file name")
    return text


def _data_name(target: Path) -> str:
    return f"{target.name}.data"


def _encoding(model: Model, target: Path, mode: ExternalDataMode) -> Encoding:
    """As it is: what was written out of functions comes back before (`Model.outlined`), but in scratch files."""
    if mode not in ("auto", "always", "never"):
        raise ValueError(f"external_data: {mode!r}")
    if mode != "always":
        encoding = Encoding(model.proto, model.tensors)
        if encoding.size <= INLINE_LIMIT:
            return encoding
        if mode == "never":
            raise OutputError(f"the model has {encoding.size} bytes: above 2 GB it needs external data")
    encoding = Encoding(model.proto, model.tensors, _data_name(target), _layout(model.tensors.values()))
    if encoding.size > INLINE_LIMIT:
        raise OutputError(f"the model has {encoding.size} bytes besides its large initializers; 2 GB is the limit")
    return encoding


def _layout(tensors: Iterable[LazyTensor]) -> dict[str, Place]:
    """Offsets in the data file, in tensor order, aligned."""
    places: dict[str, Place] = {}
    offset = 0
    for tensor in tensors:
        if not tensor.has_raw_form or tensor.nbytes < EXTERNAL_THRESHOLD:
            continue
        alignment = _LARGE_ALIGNMENT if tensor.nbytes >= _LARGE else _ALIGNMENT
        offset += -offset % alignment
        places[tensor.name] = Place(offset, tensor.nbytes)
        offset += tensor.nbytes
    return places


def _data_chunks(tensors: Mapping[str, LazyTensor], places: Mapping[str, Place]) -> Iterator[bytes | memoryview]:
    """The bytes of the data file, gaps filled with zeros."""
    position = 0
    for name, place in places.items():
        yield bytes(place.offset - position)
        yield tensors[name].payload()
        position = place.offset + place.length


def _remove_folder(folder: Path, lock: list[int]) -> None:
    """And close the lock on it."""
    try:
        while lock:
            os.close(lock.pop())
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # an interrupt in the middle of cleaning up: finish first
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_file(path: Path, chunks: Iterable[bytes | memoryview], *, durable: bool = True) -> None:
    """Write a new file, to the disk if it is to be `durable`; permissions follow the umask."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    with open(os.open(path, flags, 0o666), "wb", buffering=1 << 20) as file:
        for chunk in chunks:
            view = memoryview(chunk)
            # In pieces, so that an interrupt does not wait for gigabytes.
            file.writelines(view[start : start + _CHUNK] for start in range(0, len(view), _CHUNK))
        file.flush()
        if durable:
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Make renames durable, where the system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold an advisory lock on the folder, where the system can: two commits must not interleave."""
    try:
        import fcntl

        descriptor = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        yield
        return
    try:
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _output_errors(target: Path) -> Iterator[None]:
    """Turn errors of the file system into OutputError."""
    try:
        yield
    except OSError as error:
        hints = {
            errno.ENOSPC: "The disk is full.",
            errno.EDQUOT: "The disk quota is used up.",
            errno.EFBIG: "The file would exceed the size limit of the file system or of this process (ulimit -f).",
        }
        hint = hints.get(error.errno or 0)
        raise OutputError(f"cannot write {shown_path(target)!r}: {error.strerror or error}", hint=hint) from error
