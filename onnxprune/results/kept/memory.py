"""The folder beside an output in which a long run keeps what it found, so that the same command can go on.

`run.json` says of which run it is: digests of model and samples, options, versions. `KEY.npz` is what one stage gave,
or how far it is; KEY is the digest of what it was computed from, so whatever is there can be taken without a look at
the order of stages. Nothing is written before `EVERY_S` seconds have passed, and then as often; what takes long to
write is written less often. A file that a crash left half written is as if there were none. That nothing can be kept
(a full disk, a folder that cannot be written to) stops no run.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from onnxprune.results.kept.codec import Types, Unreadable, digest, encoded
from onnxprune.results.kept.files import put, taken

T = TypeVar("T")
MANIFEST, SUFFIX = "run.json", ".npz"
EVERY_S = 20.0
SHARE = 25.0  # times as long as the last writing took is nothing written
MOST_BYTES = 4 << 30


class Memory:
    """What one run keeps. `path`: the folder, which need not be there; None: nothing is kept."""

    def __init__(
        self,
        path: Path | None = None,
        identity: Callable[[], Mapping[str, Any]] = dict,
        *,
        every_s: float = EVERY_S,
        most_bytes: int = MOST_BYTES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path, self._identity = path, identity
        self._every_s, self._most_bytes, self._now = every_s, most_bytes, now
        self._pause, self._last = every_s, now()
        self._waiting: dict[str, tuple[Any, str | None]] = {}
        self.taken = 0
        """results of an earlier run that were taken"""

    @property
    def keeps(self) -> bool:
        """Whether anything is kept at all."""
        return self.path is not None

    def call(self, name: str, inputs: Any, compute: Callable[[], T], types: Types = ()) -> T:
        """What `compute` gives, or gave in an earlier run for the same inputs. `types`: the dataclasses in it."""
        if not self.keeps:
            return compute()
        slot = self.slot(name, inputs)
        found = slot.load(types)
        if found is not None:
            value: T = found[0]
            return value
        result = compute()
        slot.put(result)
        return result

    def slot(self, name: str, inputs: Any) -> Slot:
        """The place of one result, or of how far it is."""
        return Slot(self, digest([name, inputs])[:32] if self.keeps else "")

    @property
    def due(self) -> bool:
        """Whether it is time to write."""
        return self.keeps and self._now() - self._last >= self._pause

    def put(self, key: str, value: Any, instead_of: str | None = None) -> None:
        """Keep a value, together with those before, once it is time; and then another one no longer."""
        self._waiting[key] = value, instead_of
        if self.due:
            self._write()

    def load(self, key: str, types: Types) -> list[Any]:
        """The value that is kept, in a list; an empty one if there is none."""
        try:
            value = taken(self._file(key), types)
        except Unreadable:
            return []
        self.taken += 1
        return [value]

    def flush(self) -> None:
        """Write what waits for its time: the run ends, and may go on later."""
        if self.keeps and self._waiting:
            self._write()

    def clear(self) -> None:
        """Forget everything: the run is over."""
        self._waiting.clear()
        if self.path is not None:
            shutil.rmtree(self.path, ignore_errors=True)

    def _write(self) -> None:
        assert self.path is not None
        start = self._now()
        try:
            if not self.path.is_dir():
                self.path.mkdir()
                _replace(self.path / MANIFEST, lambda file: file.write(_manifest(self._identity())))
            for key in list(self._waiting):
                value, old = self._waiting.pop(key)
                self._write_one(key, *encoded(value))
                if old is not None:
                    self._file(old).unlink(missing_ok=True)
        except OSError:
            self._waiting.clear()
        self._last = self._now()
        self._pause = max(self._every_s, SHARE * (self._last - start)) if self._every_s else 0.0

    def _write_one(self, key: str, text: str, arrays: list[Any]) -> None:
        assert self.path is not None
        target = self._file(key)
        others = sum(one.stat().st_size for one in self.path.glob(f"*{SUFFIX}") if one != target)
        size = sum(array.nbytes for array in arrays) + len(text)
        if others + size > min(self._most_bytes, shutil.disk_usage(self.path).free // 2 + others):
            return
        _replace(target, lambda file: put(file, text, arrays))

    def _file(self, key: str) -> Path:
        assert self.path is not None
        return self.path / f"{key}{SUFFIX}"


class Slot:
    """The place of one result in a memory."""

    def __init__(self, memory: Memory, key: str) -> None:
        self._memory, self._key = memory, key

    @property
    def due(self) -> bool:
        """Whether it is time to say how far it is."""
        return self._memory.due

    def load(self, types: Types = ()) -> list[Any] | None:
        """What is kept there, in a list; None if nothing is."""
        return self._memory.load(self._key, types) or None if self._memory.keeps else None

    def put_made(self, make: Callable[[], Any]) -> None:
        """Keep what `make` makes, if anything is kept."""
        if self._memory.keeps:
            self.put(make())

    def put(self, value: Any, instead_of: Slot | None = None) -> None:
        """Keep it, in the place of what was there, and of what is kept elsewhere."""
        if self._memory.keeps:
            self._memory.put(self._key, value, None if instead_of is None else instead_of._key)


NOTHING = Memory()
"""Keeps nothing."""


def manifest_of(path: Path) -> dict[str, Any] | None:
    """Of which run a folder is; None if there is no folder, nothing known if it cannot be read."""
    if not path.is_dir():
        return None
    try:
        found = json.loads((path / MANIFEST).read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _manifest(identity: Mapping[str, Any]) -> bytes:
    return (json.dumps(identity, indent=2) + "\n").encode()


def _replace(path: Path, fill: Callable[[Any], object]) -> None:
    """A file, whole or not at all."""
    draft = path.with_name(f".{secrets.token_hex(4)}.part")
    try:
        with open(draft, "wb") as file:
            fill(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise
