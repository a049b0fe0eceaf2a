"""What runs on the workers of a Dask cluster. Files come in pieces, are kept in the worker's own folder by their
digests until it ends, and are checked before each use, by their content if they were written since.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from onnxprune.sweeping.results import Point
from onnxprune.sweeping.tasks import Job, Processes, Stopped, files_in

_CHUNK = 1 << 22
PROCESSOR, OPERATORS = "processor", "onnxprune's operators"
"""Stand among names of packages for what the processor calls itself, and for the library that training uses."""
T = TypeVar("T")
_seen: dict[Path, tuple[str, int, int]] = {}
"""Files that were right: digest, size, time of the last change."""
_runs: dict[str, Any] = {}
_ended: set[str] = set()
_lock = threading.Lock()

Bundle = dict[str, Any]
"""`digest`, and `files`: (name, bytes, SHA-256) each; a name may have a folder in front."""


def place(bundle: Bundle, name: str, root: str) -> Path:
    """Where a worker keeps a file."""
    return Path(root) / "onnxprune-sweep" / str(bundle["digest"]) / name


def missing(bundle: Bundle, root: str) -> list[str]:
    """Files of the bundle that are not there as they should be."""
    return [name for name, size, digest in bundle["files"] if not _right(place(bundle, name, root), size, digest)]


def receive(bundle: Bundle, name: str, offset: int, data: bytes, dask_worker: Any = None) -> None:
    """Append a piece of a file; the last one makes it complete. Raises ValueError if the bytes are wrong."""
    target = place(bundle, name, dask_worker.local_directory)
    size, digest = next((size, digest) for known, size, digest in bundle["files"] if known == name)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with open(part, "r+b" if offset else "wb") as file:
        file.seek(offset)
        file.write(data)
    if offset + len(data) == size:
        if not _right(part, size, digest):
            raise ValueError(f"{name} did not arrive as it was sent")
        _seen.pop(part, None)
        os.replace(part, target)


def needed(bundle: Bundle, dask_worker: Any = None) -> list[str]:
    """`missing`, asked from elsewhere."""
    return missing(bundle, dask_worker.local_directory)


def forget(digests: Sequence[str], dask_worker: Any = None) -> None:
    """Remove what was received of these bundles."""
    for digest in digests:
        folder = place({"digest": digest}, ".", dask_worker.local_directory)
        shutil.rmtree(folder, ignore_errors=True)
        for path in [path for path in list(_seen) if folder in path.parents]:
            _seen.pop(path, None)


def versions(names: Sequence[str]) -> dict[str, str | None]:
    """Installed versions of packages; under `PROCESSOR` and `OPERATORS` what this machine has of these."""
    from onnxprune import native
    from onnxprune.results.system import cpu, version

    found = {name: version(name) for name in names if name not in (PROCESSOR, OPERATORS)}
    if PROCESSOR in names:
        found[PROCESSOR] = cpu()
    if OPERATORS in names:
        found[OPERATORS] = None if native.problem() else "there"
    return {name: found[name] for name in names}


def run_point(
    sweep: str, bundle: Bundle, point: Mapping[str, Any], options: dict[str, Any], expected: dict[str, str | None]
) -> dict[str, Any]:
    """Compute a point here: `found` as worker.py says it, and `files` as bytes. Or what has to be done before:
    `missing` files, or `versions` that differ. `address` is that of this worker.
    """
    from distributed import get_worker

    worker = get_worker()
    root, address = worker.local_directory, worker.address
    hindrance = hindered(expected, [bundle], root)
    if hindrance:
        return {"address": address, **hindrance}
    processes = joined(sweep, Processes)
    if processes is None:
        return {"address": address, "stopped": True}
    folder = Path(root) / f"onnxprune-sweep-{secrets.token_hex(8)}"
    names = [name for name, _, _ in bundle["files"]]
    data = next((place(bundle, name, root) for name in names if name.startswith("data/")), None)
    job = Job(Point(**point), options, place(bundle, names[0], root), data, bundle["samples"])
    threads = max(1, cores() // max(worker.state.nthreads, 1))
    try:
        found = processes.run(job, folder, threads)
        files = {name: path.read_bytes() for name, path in files_in(folder, job.point.name).items()}
    except Stopped:
        return {"address": address, "stopped": True}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    return {"address": address, "found": found, "files": files, "digests": digests}


def hindered(expected: Mapping[str, str | None], bundles: Sequence[Bundle], root: str) -> dict[str, Any]:
    """Why nothing can be computed yet: other `versions`, or files that are `missing`; empty if nothing hinders."""
    found = versions(list(expected))
    if found != expected:
        return {"versions": found}
    lacking = [name for bundle in bundles for name in missing(bundle, root)]
    return {"missing": lacking} if lacking else {}


def joined(run: str, make: Callable[[], T]) -> T | None:
    """What computes for a run here; None if the run has ended. `make` makes it for the first that asks."""
    with _lock:
        return None if run in _ended else _runs.setdefault(run, make())


def stop(run: str) -> None:
    """End what runs here for a run, without waiting for it; nothing of it starts again."""
    with _lock:
        _ended.add(run)
        processes = _runs.pop(run, None)
    if processes is not None:
        threading.Thread(target=processes.stop, daemon=True).start()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _right(path: Path, size: int, digest: str) -> bool:
    """Whether a file is what it should be. One that was, and was not written since, is not read again."""
    try:
        state = path.stat()
        if state.st_size != size:
            return False
        if _seen.get(path) == (digest, state.st_size, state.st_mtime_ns):
            return True
        found = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(_CHUNK):
                found.update(block)
    except OSError:
        return False
    if found.hexdigest() != digest:
        return False
    _seen[path] = digest, state.st_size, state.st_mtime_ns
    return True
