"""The points of a sweep computed by the workers of a cluster."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from onnxprune.errors import ClusterError, OutputError
from onnxprune.sweeping import remote
from onnxprune.sweeping.cluster import Replies, Shipped, Task, check_versions, expected, lost, send
from onnxprune.sweeping.local import Reply
from onnxprune.sweeping.tasks import Job

KEPT = "Finished points are kept: start the same command again."


def compute(client: Any, jobs: Sequence[Job], work: Path, files: Shipped, at_once: int | None) -> Iterator[Reply]:
    """Replies in the order in which they come. Raises ClusterError; what has come stays."""
    sweep, wanted = secrets.token_hex(8), expected()
    try:
        with lost(KEPT):
            check_versions(client, wanted)
            for address in client.nthreads():
                send(client, files, address)
        tasks = [
            Task(
                job.point.name,
                remote.run_point,
                (sweep, files.bundle, asdict(job.point), job.options, wanted),
                (files,),
            )
            for job in jobs
        ]
        for number, reply in Replies(client, sweep, wanted, KEPT).of(tasks, at_once or len(jobs)):
            yield _received(jobs[number], reply, work)
    finally:
        with contextlib.suppress(Exception):
            client.run(remote.stop, sweep)


def _received(job: Job, reply: Mapping[str, Any], work: Path) -> Reply:
    """The files as they came, in a folder of their own. Raises ClusterError, OutputError."""
    folder = work / job.point.name
    if "lost" in reply:
        failure = {
            "type": "Crashed",
            "message": reply["lost"],
            "hint": "Not enough memory on the workers?",
            "exit_code": 3,
        }
        reply = {"found": {"failure": failure, "duration_s": 0.0}, "files": {}, "digests": {}}
    paths = {}
    try:
        folder.mkdir()
        for name, data in reply["files"].items():
            if hashlib.sha256(data).hexdigest() != reply["digests"][name]:
                raise ClusterError(f"{name} did not arrive as it was sent")
            paths[name] = folder / name
            paths[name].write_bytes(data)
    except OSError as error:
        raise OutputError(f"cannot write the model of {job.point.name}: {error.strerror or error}") from error
    return Reply(job, reply["found"], paths)
