"""Processes on a worker of a cluster that compute parts of a run, one after the other: model and samples are opened
once. They end with the worker, when the run ends, or by themselves when there has been nothing to do for a while.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxprune.sweeping.tasks import Stopped, end_all

MODULE = "onnxprune.api.parts"
DONE = b"done\n"
TRIES = 2  # a process that has ended meanwhile is replaced


class Servers:
    """The processes of a run on this worker; `stop` ends them all."""

    def __init__(self) -> None:
        self._idle: list[subprocess.Popen[bytes]] = []
        self._live: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def compute(self, world: Mapping[str, Any], part: Path) -> str | None:
        """Let a process compute the part in a folder, into the same folder; why there is nothing, if there is not.

        `world`: what the process opens at its start. Raises Stopped.
        """
        for _ in range(TRIES):
            process, fresh = self._taken(world, part)
            try:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(f"{part}\n".encode())
                process.stdin.flush()
                reply = process.stdout.readline()
            except OSError:
                reply = b""
            with self._lock:
                if self._stopped:
                    raise Stopped
                if reply == DONE:
                    self._idle.append(process)
                    return None
                self._live.discard(process)
            process.kill()
            code = _closed(process)
            if fresh or code != 0:
                return f"its process ended with {code}"
        return "its process ended"

    def stop(self) -> None:
        """End all processes, and start no others. Returns when they have ended."""
        with self._lock:
            self._stopped = True
            live = list(self._live)
        end_all(live)
        for process in live:
            _closed(process)

    def _taken(self, world: Mapping[str, Any], folder: Path) -> tuple[subprocess.Popen[bytes], bool]:
        """A process that waits, and whether it is a new one."""
        with self._lock:
            if self._stopped:
                raise Stopped
            if self._idle:
                return self._idle.pop(), False
            process = _started(world, folder)
            self._live.add(process)
            return process, True


def _started(world: Mapping[str, Any], folder: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", MODULE, json.dumps(world)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(p) for p in sys.path if p)},
        cwd=folder.parent,  # Python looks for modules in the working directory first: not in the one of the user
        start_new_session=True,  # Ctrl-C is for us: we tell it
    )


def _closed(process: subprocess.Popen[bytes]) -> int:
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.close()
    return process.wait()
