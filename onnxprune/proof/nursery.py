"""A process in which everything is imported already, and that forks a worker for every job.

Python, NumPy, onnx and ONNX Runtime take most of the time of a proof of a small model. The worker is a process of its
own all the same: what it does ends with it, and a crash of the runtime becomes a message. Where processes cannot fork,
each job starts one anew.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

CAN_FORK = sys.platform.startswith("linux")
VOLATILE = ("PYTEST_",)  # variables that change from one test to the next
LATE = ("TMPDIR", "TEMP", "TMP")  # read when they are needed: a worker is told of them, whatever it was forked from
Environment = dict[str, str]


@dataclass(frozen=True)
class Ended:
    """How a worker ended: its exit code, negative for signals as in subprocess, and what it wrote to stderr."""

    code: int
    errors: str


class TooLong(Exception):
    """A worker did not end in time; it is gone now."""


def work(job: Path, folder: Path, timeout: float) -> Ended:
    """Run `worker.py` on a job in a process of its own whose working directory is `folder`. Raises TooLong."""
    environment, late = _environment(), _late()
    if CAN_FORK and _lock.acquire(blocking=False):
        try:
            return _nursery(environment).work(job, folder, timeout, late)
        except _Broken:
            _forget()
        except BaseException:  # Ctrl-C: answers may be left in the pipe, so that another one is needed
            _forget()
            raise
        finally:
            _lock.release()
    return _alone(job, folder, {**environment, **late}, timeout)


def _environment() -> Environment:
    """Modules are found as here; what is relative to a working directory that is gone is found nowhere."""
    paths = os.pathsep.join(filter(None, map(_absolute, filter(None, sys.path))))
    own = {name: value for name, value in os.environ.items() if name not in LATE and not name.startswith(VOLATILE)}
    return {**own, "PYTHONPATH": paths}


def _late() -> Environment:
    return {name: os.environ[name] for name in LATE if name in os.environ}


def _absolute(path: str) -> str:
    try:
        return os.path.abspath(path)
    except OSError:
        return ""


def _alone(job: Path, folder: Path, environment: Mapping[str, str], timeout: float) -> Ended:
    process = subprocess.Popen(
        [sys.executable, "-m", "onnxprune.proof.worker", str(job)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd=folder,  # Python looks for modules in the working directory first: not in the one of the user
    )
    try:
        _, errors = process.communicate(timeout=timeout)
    except BaseException as error:
        with contextlib.suppress(OSError):
            process.kill()
        process.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            raise TooLong from error
        raise
    return Ended(process.returncode, errors.decode(errors="replace"))


# ---- forked workers --------------------------------------------------------------------------------------------
class _Broken(Exception):
    """The nursery itself does not answer."""


class _Nursery:
    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onnxprune.proof.worker", "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            cwd="/",
            start_new_session=True,  # with its workers it is one group, which ends as a whole
        )

    def work(self, job: Path, folder: Path, timeout: float, variables: Environment) -> Ended:
        errors = folder / "errors.txt"
        request = {"job": str(job), "folder": str(folder), "errors": str(errors), "variables": variables}
        late = threading.Timer(timeout, _kill, [int(self._asked(json.dumps(request)))])
        late.start()
        try:
            code = int(self._line())
        finally:
            fired = not late.is_alive()
            late.cancel()
        if fired and code == -signal.SIGKILL:
            raise TooLong
        return Ended(code, errors.read_text(errors="replace"))

    def end(self) -> None:
        """With its worker, if one is at work; both are gone afterwards, and write no more."""
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(OSError):
                pipe.close() if pipe else None
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _asked(self, request: str) -> str:
        pipe: IO[bytes] | None = self._process.stdin
        assert pipe is not None
        try:
            pipe.write(request.encode() + b"\n")
            pipe.flush()
        except OSError as error:
            raise _Broken from error
        return self._line()

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise _Broken
        return line.decode().strip()


_lock = threading.Lock()
_current: list[_Nursery] = []


def _nursery(environment: Environment) -> _Nursery:
    """The one that there is, if it was started in such an environment."""
    if _current and _current[0].environment != environment:
        _forget()
    if not _current:
        _current.append(_Nursery(environment))
    return _current[0]


def _forget() -> None:
    while _current:
        _current.pop().end()


def _kill(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGKILL)


def _after_fork() -> None:
    """A child has no part in its parent's workers."""
    global _lock
    _current.clear()
    _lock = threading.Lock()


atexit.register(_forget)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
