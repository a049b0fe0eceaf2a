"""The folder of a sweep: one model and one JSON per finished point, and what they were made from.

`sweep.json` says what the folder is for: digests of model and samples, options, versions. `NAME.onnx` (with `NAME.data`
beside large ones) is moved into place whole, then `NAME.json`, which has its digest: a point counts as finished if both
are there and agree. Whoever writes holds a lock; what was half done lies in `.work-*` and is removed by the next.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from onnxprune.errors import OutputError
from onnxprune.model.container import shown_path
from onnxprune.model.outputs import write_text
from onnxprune.sweeping.record import outcome_document, outcome_of, point_document
from onnxprune.sweeping.results import FAILED, FINISHED, Outcome, Point

SCHEMA, POINT_SCHEMA = "onnxprune.sweep-folder/1", "onnxprune.sweep-point/1"
MANIFEST, LOCK, SCORES, WORK = "sweep.json", ".lock", "scores.json", ".work-"
TRIES, PAUSE_SECONDS = 20, 0.05  # for the lock
_CHUNK = 1 << 22
Identity = dict[str, Any]


class Folder:
    """A folder that this process alone writes to. `work` is for what is not finished; it is gone at the end."""

    def __init__(self, path: Path) -> None:
        self.path, self.work = path, path / f"{WORK}{secrets.token_hex(4)}"
        self.identity: Identity = {}

    def claim(self, identity: Identity) -> None:
        """Take the folder for points of this identity. Raises OutputError if it holds those of another one."""
        manifest, there = self.read(MANIFEST), (self.path / MANIFEST).exists()
        differing = differences(manifest, identity) if there else []
        if differing:
            raise OutputError(
                f"{shown_path(self.path)!r} holds another sweep: {'; '.join(differing)}.",
                hint="Give another folder with -o, go on with what it was made from, or delete it.",
            )
        if not there:
            self.write(MANIFEST, identity)
        self.identity = identity

    def key(self, point: Point) -> str:
        """What a point is computed from, as one digest."""
        return _digest({**self.identity, "point": point_document(point)})

    def finished(self, point: Point) -> Outcome | None:
        """The outcome of a point that was finished by this or an earlier run, if its files are as they were."""
        try:
            document = json.loads((self.path / f"{point.name}.json").read_text("utf-8"))
            if document["schema"] != POINT_SCHEMA or document["key"] != self.key(point):
                return None
            outcome = outcome_of(document["outcome"])
            files = {one["name"]: one["sha256"] for one in document["files"]}
            if any(_sha256(self.path / Path(name).name) != digest for name, digest in files.items()):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        whole = f"{point.name}.onnx" in files or outcome.status != FINISHED
        return outcome if whole and outcome.status != FAILED else None

    def commit(self, point: Point, outcome: Outcome, files: Mapping[str, Path]) -> None:
        """Keep a point: its files, by their final names, and then what is known of it. Raises OutputError."""
        with _errors(self.path):
            (self.path / f"{point.name}.json").unlink(missing_ok=True)  # not those of other files
            digests = [{"name": name, "sha256": _sha256(path)} for name, path in files.items()]
            for path in files.values():
                os.replace(path, self.path / path.name)
            _flush(self.path)
        document = {
            "schema": POINT_SCHEMA,
            "key": self.key(point),
            **point_document(point),
            "files": digests,
            "outcome": outcome_document(outcome),
        }
        self.write(f"{point.name}.json", document)

    def write(self, name: str, document: Mapping[str, Any]) -> None:
        """A JSON file of the folder, whole or not at all. Raises OutputError."""
        write_text(self.path / name, json.dumps(document, indent=2, allow_nan=False) + "\n", force=True)

    def read(self, name: str) -> dict[str, Any]:
        """A JSON file of the folder; nothing if it cannot be read."""
        try:
            found = json.loads((self.path / name).read_text("utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


@contextlib.contextmanager
def open_folder(path: Path) -> Iterator[Folder]:
    """Make the folder of a sweep, or take one; nobody else may meanwhile. Raises OutputError."""
    with _errors(path):
        there = path.is_dir()
        if not there:
            path.mkdir()
        elif not (path / MANIFEST).is_file() and any(one.name != LOCK for one in path.iterdir()):
            raise OutputError(
                f"{shown_path(path)!r} is not the folder of a sweep, and not empty.",
                hint="Give a folder that does not exist yet: -o FOLDER.",
            )
    folder = Folder(path)
    try:
        with _locked(path):
            for left in path.glob(f"{WORK}*"):
                shutil.rmtree(left, ignore_errors=True)
            with _errors(path):
                folder.work.mkdir()
            yield folder
    except BaseException:
        shutil.rmtree(folder.work, ignore_errors=True)
        if not there and {one.name for one in path.glob("*")} <= {LOCK, MANIFEST}:
            shutil.rmtree(path, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(folder.work, ignore_errors=True)


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What distinguishes two identities, in words; nothing if they are the same."""
    if before.get("schema") != SCHEMA:
        return ["its sweep.json is not one that this version wrote"]
    found = []
    for part in ("model", "data"):
        if (before.get(part) or {}).get("sha256") != (now.get(part) or {}).get("sha256"):
            found.append(f"{part} was {_named(before.get(part))}, now {_named(now.get(part))}")
    for part, word in (("options", "--"), ("versions", "")):
        old, new = before.get(part) or {}, now.get(part) or {}
        for key in dict.fromkeys((*old, *new)):
            if old.get(key) != new.get(key):
                name = key.replace("_", "-") if word else key
                found.append(f"{word}{name} was {_told(old.get(key))}, now {_told(new.get(key))}")
    return found


def _told(value: Any) -> str:
    """The value of an option in a message."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "not given"
    return "not given" if value is None else str(value)


def _named(found: Mapping[str, Any] | None) -> str:
    return "none" if not found else f"{found.get('name', 'data')} ({str(found.get('sha256'))[:8]})"


def _digest(document: Any) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _flush(folder: Path) -> None:
    """Renamed files stay so after a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of the folder, where the system has such; it ends with the process. Raises OutputError."""
    with _errors(path):
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        if not _taken(descriptor):
            raise OutputError(
                f"another sweep is writing into {shown_path(path)!r}.",
                hint="Wait for it, or give another folder with -o.",
            )
        yield
    finally:
        os.close(descriptor)


def _taken(descriptor: int) -> bool:
    """Whether the lock is ours now, or the system has none. A child of a killed sweep may hold it for a moment: until
    its program starts.
    """
    try:
        import fcntl
    except ImportError:
        return True
    for attempt in range(TRIES):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if attempt < TRIES - 1:
                time.sleep(PAUSE_SECONDS)
        except OSError:
            return True
        else:
            return True
    return False


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Errors of the file system as OutputError."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot use the folder {shown_path(path)!r}: {error.strerror or error}") from error
