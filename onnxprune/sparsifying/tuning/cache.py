"""Times that were measured before, in a file of the user's cache folder. What cannot be read or written is no error.

One file an environment: times of another processor, another release of the runtime, another library or another number
of threads are those of something else.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from onnxprune import native
from onnxprune.errors import OutputError
from onnxprune.model.outputs import write_text
from onnxprune.results.system import cpu, usable_cores, version

VERSION = 1
LARGEST = 16 << 20  # bytes: what is larger is not ours


def cache_folder() -> Path | None:
    """Where caches of the user go on this system; None if the system does not say."""
    wanted = os.environ.get("XDG_CACHE_HOME", "")
    try:
        if os.path.isabs(wanted):
            return Path(wanted) / "onnxprune"
        if sys.platform == "win32":
            return Path(os.environ["LOCALAPPDATA"]) / "onnxprune" / "Cache"
        return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "onnxprune"
    except (KeyError, RuntimeError):
        return None


def environment(threads: int) -> dict[str, str | int | None]:
    """What times hold for: everything but the layer itself."""
    library = native.library_path()
    return {
        "cpu": cpu(),
        "cores": usable_cores(),
        "threads": threads,
        "instruction set": native.instruction_set(),
        "onnxruntime": version("onnxruntime"),
        "library": hashlib.sha256(library.read_bytes()).hexdigest() if library is not None else None,
    }


class Cache:
    """A few numbers by key: what was measured. `folder` None keeps nothing."""

    def __init__(self, folder: Path | None, where: Mapping[str, str | int | None]) -> None:
        self._where = dict(where)
        name = hashlib.sha256(json.dumps(self._where, sort_keys=True).encode()).hexdigest()[:16]
        self._path = folder / f"times-{name}.json" if folder is not None else None
        self._new: dict[str, dict[str, object]] = {}
        self._known = self._read()

    def get(self, key: str, count: int) -> tuple[float, ...] | None:
        """The `count` numbers, if they are known."""
        found = self._known.get(key)
        return found if found is not None and len(found) == count else None

    def put(self, key: str, numbers: Sequence[float], words: str) -> None:
        """`words` say to people what it is that took so long."""
        self._known[key] = tuple(numbers)
        self._new[key] = {"of": words, "numbers": list(numbers)}

    def save(self) -> None:
        """What is new goes to the file, with what others have written in the meantime."""
        if self._path is None or not self._new:
            return
        text = json.dumps({**self._where, "version": VERSION, "times": {**self._entries(), **self._new}}, indent=1)
        with contextlib.suppress(OSError, OutputError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path, text + "\n", force=True)
            self._new = {}

    def _read(self) -> dict[str, tuple[float, ...]]:
        found = {}
        for key, entry in self._entries().items():
            numbers = entry.get("numbers") if isinstance(entry, dict) else None
            if isinstance(numbers, list) and all(isinstance(x, (int, float)) and 0 < x < math.inf for x in numbers):
                found[key] = tuple(map(float, numbers))
        return found

    def _entries(self) -> dict[str, object]:
        try:
            if self._path is None or self._path.stat().st_size > LARGEST:
                return {}
            document = json.loads(self._path.read_text("utf-8"))
            times = document["times"] if document["version"] == VERSION else {}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
        return times if isinstance(times, dict) else {}
