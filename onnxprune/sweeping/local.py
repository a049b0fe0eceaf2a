"""Points computed on this machine, a few at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxprune.sweeping.tasks import Job, Processes, files_in


@dataclass(frozen=True)
class Reply:
    """What came of a job: `found` is that of worker.py; `files`, by their final names, are to be moved."""

    job: Job
    found: dict[str, Any]
    files: dict[str, Path]


def compute(jobs: Sequence[Job], work: Path, at_once: int, threads: int) -> Iterator[Reply]:
    """Replies in the order in which they come. When the caller has enough, all processes end."""
    processes = Processes()

    def one(job: Job) -> Reply:
        folder = work / job.point.name
        found = processes.run(job, folder, threads)
        return Reply(job, found, files_in(folder, job.point.name))

    pool = ThreadPoolExecutor(at_once, thread_name_prefix="onnxprune-sweep")
    try:
        for future in as_completed([pool.submit(one, job) for job in jobs]):
            yield future.result()
    finally:
        processes.stop()
        pool.shutdown(wait=True, cancel_futures=True)
