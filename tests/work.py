"""How much work something is: calls and bytes, the same on a busy machine. Times are for benchmarks/."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Work:
    """`calls` of functions, those written in C included; `peak_bytes`: the most that Python and NumPy held at once."""

    calls: int = 0
    peak_bytes: int = 0


@contextmanager
def counted() -> Iterator[Work]:
    """Counts what is done inside, also if that raises; afterwards it is in what this gives."""
    work = Work()

    def count(frame: FrameType, event: str, argument: object) -> None:
        work.calls += event in ("call", "c_call")

    before = sys.getprofile()
    tracemalloc.start()
    sys.setprofile(count)
    try:
        yield work
    finally:
        sys.setprofile(before)
        work.peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
