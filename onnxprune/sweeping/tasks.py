"""Points in processes of their own: started, waited for, ended when the run ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.sweeping.results import Point

PATIENCE_S = 10.0  # for a process to clean up, once it was asked to end
FILES = ("onnx", "onnx.data")


@dataclass(frozen=True)
class Job:
    """One point to be computed. `options` are those of `shrink`; `model` and `data` are files.

    `quantize`: instead of that, what is known of the result that is to be quantised; `options` are those of `quantize`.
    """

    point: Point
    options: dict[str, Any]
    model: Path
    data: Path | None
    samples: int | None
    quantize: dict[str, Any] | None = None


class Stopped(Exception):
    """The run is over: nothing is started any more."""


class Processes:
    """The processes of a run; `stop` ends them all."""

    def __init__(self) -> None:
        self._live: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, job: Job, folder: Path, threads: int) -> dict[str, Any]:
        """Compute a point; its files are in `folder`, which is made. What worker.py says of it, or how it failed."""
        start = time.perf_counter()
        folder.mkdir()
        path = folder / "job.json"
        path.write_text(json.dumps(_description(job, folder, threads)), "utf-8")
        reading, writing = os.pipe()  # the process ends when nobody holds the other side any more
        try:
            with self._lock:
                if self._stopped:
                    raise Stopped
                process = _started(path, reading)
                self._live.add(process)
            _, errors = process.communicate()
        finally:
            os.close(reading)
            os.close(writing)
        with self._lock:
            self._live.discard(process)
            if self._stopped:
                raise Stopped
        try:
            found: dict[str, Any] = json.loads((folder / "result.json").read_text("utf-8"))
        except (OSError, ValueError):
            found = {"failure": _crashed(process.returncode, errors)}
        return {"duration_s": time.perf_counter() - start, **found}

    def stop(self) -> None:
        """End all processes, and start no others. Returns when they have ended."""
        with self._lock:
            self._stopped = True
            live = list(self._live)
        end_all(live)


def end_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, and wait until they have; those that take too long are killed."""
    for process in processes:
        with contextlib.suppress(OSError):
            process.terminate()
    end = time.monotonic() + PATIENCE_S
    for process in processes:
        try:
            process.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(OSError):
                process.kill()


def files_in(folder: Path, name: str) -> dict[str, Path]:
    """The files of a point, the .onnx last: it is what makes the others be read."""
    paths = [folder / f"{name}.{suffix}" for suffix in reversed(FILES)]
    return {path.name: path for path in paths if path.is_file()}


def _description(job: Job, folder: Path, threads: int) -> dict[str, Any]:
    point = job.point
    return {
        "model": str(job.model.absolute()),
        "out": str((folder / f"{point.name}.onnx").absolute()),
        "data": None if job.data is None else str(job.data.absolute()),
        "samples": job.samples,
        "quantize": job.quantize,
        "options": {**job.options, **({} if job.quantize is not None else _asked(point)), "threads": threads},
    }


def _asked(point: Point) -> dict[str, Any]:
    return {"ratio": point.ratio, "target": point.target, "criterion": point.criterion}


def _started(path: Path, reading: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "onnxprune.sweeping.worker", str(path.absolute())],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p)},
        cwd=path.parent,  # Python looks for modules in the working directory first: not in the one of the user
        start_new_session=True,  # Ctrl-C is for us: we tell it
    )


def _crashed(code: int, errors: bytes) -> dict[str, Any]:
    lines = errors.decode(errors="replace").strip().splitlines()
    said = lines[-1][:300] if lines else "it said nothing"
    if code < 0:
        message = f"its process was ended by signal {signal.Signals(-code).name}"
        return {"type": "Crashed", "message": message, "hint": "Not enough memory? Try --jobs 1.", "exit_code": 3}
    message = f"this is a bug in onnxprune ({said})."
    return {
        "type": "InternalError",
        "message": message,
        "hint": "shrink with these options writes a log.",
        "exit_code": 70,
    }
