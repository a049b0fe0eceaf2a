"""Ctrl-C in the functions of the API: the first one ends a repair at its best so far, if that is asked for."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from onnxprune.options.running import Result
from onnxprune.results.ending import Ending


@contextlib.contextmanager
def interruptible(options: Result, ending: Ending) -> Iterator[None]:
    """Let the first SIGINT end what can be ended; every other one does what it did. Only the main thread gets any."""
    before = signal.getsignal(signal.SIGINT)
    main = threading.current_thread() is threading.main_thread()
    if options.on_interrupt == "discard" or options.dry_run or not main or not callable(before):
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if not ending.ask():
            before(number, frame)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
