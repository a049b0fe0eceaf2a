"""How long the threads of this process waited for a core that other programs had."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

TASKS = Path("/proc/self/task")
SWITCH_S = 1e-3  # where the system counts interruptions but does not time them: what one takes at least


class Waiting:
    """Looks at all threads that exist when it is made.

    Linux times how long a thread could have run and did not (the second number of schedstat; what a hypervisor takes
    away is not in it). Other Unix systems count how often a thread was put aside; elsewhere nothing is known: always 0.
    """

    def __init__(self) -> None:
        self._files: list[int] = []
        for task in sorted(TASKS.iterdir()) if TASKS.is_dir() else ():
            with contextlib.suppress(OSError):
                self._files.append(os.open(task / "schedstat", os.O_RDONLY))

    def seconds(self) -> float:
        """Of all threads together, since they began."""
        if not self._files:
            return _switches() * SWITCH_S
        total = 0
        for file in self._files:
            with contextlib.suppress(OSError, ValueError, IndexError):  # the thread has ended
                total += int(os.pread(file, 96, 0).split()[1])
        return total * 1e-9

    def close(self) -> None:
        while self._files:
            os.close(self._files.pop())


def _switches() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_nivcsw
