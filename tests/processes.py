"""Processes that tests wait for: what is asked is whether they are there, never how long something takes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

PAUSE_S = 0.01


def running(word: str) -> dict[int, int]:
    """The processes with this word in their command line: their numbers, and those of who started them. Skips where
    the system does not tell.
    """
    if not os.path.isdir("/proc/self"):
        pytest.skip("the system does not list processes in /proc")
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, IndexError):
            if word.encode() in (path / "cmdline").read_bytes():
                found[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return found


def wait_for_child(word: str, parent: subprocess.Popen[str] | None = None) -> int:
    """The number of a process with this word that `parent` has started; None: this process. Waits until there is one;
    fails if the parent ends before.
    """
    number = os.getpid() if parent is None else parent.pid
    while True:
        for pid, starter in running(word).items():
            if starter == number:
                return pid
        assert parent is None or parent.poll() is None, "it has ended"
        time.sleep(PAUSE_S)
